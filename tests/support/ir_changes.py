"""Changing one thing in an example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from etir.ir.plan import Operation, Plan
from etir.ir.transition import Transition


def set_at(items: tuple[Any, ...], index: int, **changes: Any) -> tuple[Any, ...]:
    """The items, one of them changed."""
    return (*items[:index], replace(items[index], **changes), *items[index + 1 :])


def plan_of(t: Transition) -> Plan:
    assert t.plan is not None
    return t.plan


def with_same(t: Transition, **changes: Any) -> Transition:
    return replace(t, plan=replace(plan_of(t), **changes))


def with_operation(t: Transition, kind: type[Operation], nth: int = 0, **changes: Any) -> Transition:
    """The transition with the `nth` operation of a class changed, in whichever phase it is."""
    plan = plan_of(t)
    chosen = [operation for operation in plan.operations if type(operation) is kind][nth]
    phases = {
        phase: tuple(replace(o, **changes) if o is chosen else o for o in getattr(plan, phase))
        for phase in ("step", "at_window")
    }
    return with_same(t, **phases)
