"""Seconds until a learner runs, beside `jax.jit(jax.grad(scan))` of the same model: processor time, no cache."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from .. import models
from ..harness import distance
from ..problem import Problem, bptt, online
from ..record import Record
from ..suite import Case, Settings


def _seconds(of: Problem) -> tuple[float, float, float]:
    """Of etir, passes included, and of BPTT; and how far their gradients are apart."""
    import jax

    def spent(make: Any) -> tuple[Any, Any, float]:
        start = time.process_time()
        program = make()
        executable = jax.jit(program.run, donate_argnums=program.donate).lower(*program.args).compile()
        return program, executable, time.process_time() - start

    (plain, run_plain, ours), (own, run_own, theirs) = spent(lambda: bptt(of)), spent(lambda: online(of, "d_rtrl", 16))
    far = distance(own.gradients(run_own(*own.args)), run_plain(*plain.args))
    return theirs, ours, far


def _stacks(settings: Settings) -> Sequence[Record]:
    records: list[Record] = []
    for layers in (2, 4) if settings.quick else (5, 20, 50):
        online_seconds, bptt_seconds, far = _seconds(models.stack(32, 4, 256, layers))
        records.append(
            Record(
                case="compile, LSTM layers of 32 units",
                program=f"{layers} layers",
                metric="compile",
                value=online_seconds / bptt_seconds,
                against="bptt",
                most=settings.most(1.7),
                error=far,
                error_from="bptt",
                compile_seconds=online_seconds,
                note=f"bptt {bptt_seconds:.1f} s",
            )
        )
    return records


CASES = (Case("compile", _stacks, ("quick", "full"), "processor seconds until it runs, beside BPTT's"),)
