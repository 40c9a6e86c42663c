"""The choices of `etir.plan` that need a backend: how long a window should be."""

from __future__ import annotations

from dataclasses import replace

from .backends import Backend
from .backends.engine import Engine
from .backends.timing import choose_window, device_model, priced_windows
from .ir.transition import Transition, Verdict
from .memory import Budget


def chosen_window(planned: Transition, backend: Backend, trace_dtype: str | None, within: Budget) -> tuple[int, str]:
    """The cheapest window for a plan, whatever its own, and why: see `etir.plan`."""
    plan, certificate = planned.plan, planned.certificate
    assert plan is not None
    assert certificate is not None

    def engine_of(window: int) -> Engine:
        return Engine(replace(planned, plan=replace(plan, window=window)), backend, trace_dtype)

    device = device_model()
    inexact = any(label.label is not Verdict.EXACT for label in certificate)
    return choose_window(
        priced_windows(engine_of, device),
        device.name,
        memory=within.bytes,
        longer_drops_less=inexact and plan.credit == "full",
    )


def with_window_because(planned: Transition, because: str) -> Transition:
    """The transition, its plan with the reason for its window."""
    assert planned.plan is not None
    return replace(planned, plan=replace(planned.plan, window_because=because))
