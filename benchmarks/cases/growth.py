"""How time and memory grow: slopes on log-log axes over a series of sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from .. import models
from ..harness import compare
from ..problem import Problem, bptt, online
from ..record import Record
from ..suite import Case, Settings

RULES = ("d_rtrl", "pp_prop")


def _slope(sizes: Sequence[int], values: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def _series(
    case: str, settings: Settings, sizes: Sequence[int], make: Callable[[int], Problem], rule: str, **bounds: Any
) -> list[Record]:
    """Two exponents, of milliseconds a step and of temporary bytes, for BPTT and for a rule."""
    found: dict[str, list[Any]] = {}
    for size in sizes:
        of = make(size)
        for row in compare([bptt(of), online(of, rule, 16)], steps=of.steps, rounds=settings.rounds):
            found.setdefault(row.name, []).append(row)
    records: list[Record] = []
    for name, rows in found.items():
        values = {"time": [r.ms_per_step for r in rows], "temporary bytes": [float(r.temp_bytes) for r in rows]}
        for what, series in values.items():
            held = bounds.get(what, {}) if name != "bptt" and not settings.quick else {}
            records.append(
                Record(
                    case=f"growth with {case}",
                    program=name,
                    metric="exponent",
                    value=_slope(sizes, series),
                    **held,
                    error=rows[-1].distance_from_first,
                    error_from="bptt",
                    note=f"{what} over {', '.join(map(str, sizes))}",
                )
            )
    return records


def _growth(settings: Settings) -> Sequence[Record]:
    quick = settings.quick
    batch, steps, n = (4, 32, 32) if quick else (16, 256, 256)
    flat = {"temporary bytes": {"most": 0.02, "least": -0.02}}
    units, batches = ((16, 32), (2, 4)) if quick else ((128, 256, 512, 1024), (2, 8, 32))
    times, layers = ((32, 64), (2, 4)) if quick else ((512, 1024, 2048, 4096), (2, 5, 10, 20))
    records: list[Record] = []
    for rule in RULES:
        records += _series(f"n, LIF, {rule}", settings, units, lambda k: models.lif(k, batch, steps), rule)
        records += _series(f"B, LIF, {rule}", settings, batches, lambda k: models.lif(n, k, steps), rule)
        records += _series(f"T, LIF, {rule}", settings, times, lambda k: models.lif(n, batch, k), rule, **flat)
    records += _series("layers, LSTM, d_rtrl", settings, layers, partial(models.stack, 16, 4, 128), "d_rtrl")
    cubic = {"time": {"most": 3.2}}
    sizes = (4, 8) if quick else (32, 64, 128)
    records += _series("n, tanh RNN, rtrl", settings, sizes, lambda k: models.tanh_rnn(k, 1, 64), "rtrl", **cubic)
    return records


CASES = (Case("growth", _growth, ("quick", "full"), "exponents in n, B, T and layers"),)
