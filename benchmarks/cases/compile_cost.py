"""Seconds until a learner runs, beside `jax.jit(jax.grad(scan))` of the same model: processor time, nothing cached."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from statistics import median

from .. import stacks
from ..harness import distance, timed_call
from ..record import Record
from ..suite import Case, Settings


def _stacks(settings: Settings) -> Sequence[Record]:
    """Stacks of layers of 32 units, all weights traced, passes included; and what a call takes then."""
    records: list[Record] = []
    for make in (stacks.learner, stacks.plain):
        make(*stacks.model("gru", 1, 8))  # imports, and what a process does once
    for name in stacks.CELLS:
        for layers in (2, 4) if settings.quick else (5, 20, 50):
            given = stacks.model(name, layers, 32)
            (own, ours), (plain, theirs) = (
                stacks.seconds(partial(make, *given)) for make in (stacks.learner, stacks.plain)
            )
            far = distance(timed_call(*own)[0], timed_call(*plain)[0])
            run = median(timed_call(*own)[1] / timed_call(*plain)[1] for _ in range(settings.rounds))
            records.append(
                Record(
                    case=f"compile, {name} layers of 32 units",
                    program=f"{layers} layers",
                    metric="compile",
                    value=ours / theirs,
                    against="bptt",
                    most=settings.most(1.7),
                    error=far,
                    error_from="bptt",
                    compile_seconds=ours,
                    note=f"bptt {theirs:.1f} s; a call {run:.2f} x bptt's",
                )
            )
    return records


CASES = (Case("compile", _stacks, ("quick", "full"), "processor seconds until a stack runs, beside BPTT's"),)
