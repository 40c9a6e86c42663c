"""Changing one thing in an example."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from etir.ir.plan import Plan
from etir.ir.transition import Transition


def set_at(items: tuple[Any, ...], index: int, **changes: Any) -> tuple[Any, ...]:
    """The items, one of them changed."""
    return (*items[:index], replace(items[index], **changes), *items[index + 1 :])


def plan_of(t: Transition) -> Plan:
    assert t.plan is not None
    return t.plan


def with_same(t: Transition, **changes: Any) -> Transition:
    return replace(t, plan=replace(plan_of(t), **changes))
