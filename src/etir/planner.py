"""The choices of `etir.plan` that need a backend: how long a window should be."""

from __future__ import annotations

from dataclasses import replace

from .backends import Backend
from .backends.engine import Engine
from .backends.timing import choose_fold, choose_window, device_model, priced_folds, priced_windows
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


def with_choices(
    planned: Transition, because: str, backend: Backend, trace_dtype: str | None, within: Budget
) -> Transition:
    """The transition, its plan with the reason for its window, and with the cheapest fold where there is a choice."""
    assert planned.plan is not None
    plan = replace(planned.plan, window_because=because)

    def engine_of(fold: int) -> Engine:
        return Engine(replace(planned, plan=replace(plan, fold=fold)), backend, trace_dtype)

    device = device_model()
    prices = priced_folds(engine_of, device)
    if prices:
        fold, why = choose_fold(prices, device.name, memory=within.bytes)
        plan = replace(plan, fold=fold, fold_because=why)
    return replace(planned, plan=plan)
