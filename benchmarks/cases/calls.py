"""One step a call, the model alone, and what calling costs."""

from __future__ import annotations

from collections.abc import Sequence

from .. import calls
from ..harness import compare
from ..record import Bound, Record, time_records
from ..suite import Case, Settings


def _step(settings: Settings) -> Sequence[Record]:
    n, records = settings.size(512, 64), []
    for batch in (16, 1):
        for donated in (True, False):
            rows = compare(calls.step_programs(n, batch, donated), steps=1, rounds=settings.rounds * 4)
            bounds = {"grad of step": Bound(most=settings.most(1.3))} if donated else {}
            kept = "donated" if donated else "kept"
            records += time_records(f"a step a call, LIF, n={n}, B={batch}, carry {kept}", rows, bounds=bounds)
    return records


def _predict(settings: Settings) -> Sequence[Record]:
    n, steps, records = settings.size(512, 64), settings.size(128, 16), []
    for what, programs in zip(("alone", "BPTT"), calls.predict_programs(n, 16, steps), strict=True):
        rows = compare(programs, steps=steps, rounds=settings.rounds * 3)
        bounds = {"predict": Bound(most=settings.most(1.1))}
        records += time_records(f"predict, LIF, n={n}, T={steps}, {what}", rows, bounds=bounds)
    return records


CASES = (
    Case("step a call", _step, about="jax.grad through learner.step beside train over a sequence of one"),
    Case("predict", _predict, about="learner.predict beside a scan of the step"),
)
