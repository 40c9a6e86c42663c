"""What a plan costs: a rule for each operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..ir.plan import (
    Advance,
    AdvanceFactored,
    AdvanceFull,
    Contract,
    Jacobian,
    Operation,
    Plan,
    Pullback,
    Sensitivity,
    Vjp,
)
from ..ir.transition import Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """An estimate for one step, the window's operations spread over its steps."""

    flops: float = 0.0
    """Floating-point operations."""
    read: float = 0.0
    """Bytes of traces read."""
    written: float = 0.0
    """Bytes of traces written."""
    held: float = 0.0
    """Bytes of traces held between steps."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            flops=self.flops + other.flops,
            read=self.read + other.read,
            written=self.written + other.written,
            held=self.held + other.held,
        )

    def over(self, steps: int) -> Cost:
        """The cost of something that happens once in this many steps; what is held stays."""
        return Cost(flops=self.flops / steps, read=self.read / steps, written=self.written / steps, held=self.held)

    def __str__(self) -> str:
        units = [
            ("flops", self.flops, ""),
            ("read", self.read, "B"),
            ("written", self.written, "B"),
            ("held", self.held, "B"),
        ]
        return ", ".join(f"{name} {_human(value, unit)}" for name, value, unit in units)


def estimate(transition: Transition) -> Cost:
    """The cost of one step of a planned transition, the model's own step and its reverse mode left out.

    A positional trace is read and written once a window, whatever the plan's order: backends fold the steps of a
    window.
    """
    plan = transition.plan
    assert plan is not None
    total = Cost(held=float(sum(trace.before.type.bytes for trace in plan.traces)))
    for op in plan.operations:
        rule = _RULES.get(type(op))
        total += rule(op, plan, transition) if rule else Cost()
    return total


def _advance(op: Any, plan: Plan, transition: Transition) -> Cost:
    size, moved = op.trace.type.size, op.trace.type.bytes
    return Cost(flops=2.0 * size) + Cost(flops=1.0 * size, read=moved, written=moved).over(plan.window)


def _advance_factored(op: Any, plan: Plan, transition: Transition) -> Cost:
    moved = sum(value.type.bytes for value in op.factors)
    return Cost(flops=3.0 * sum(value.type.size for value in op.factors), read=moved, written=moved)


def _advance_full(op: Any, plan: Plan, transition: Transition) -> Cost:
    rows, columns = op.trace.type.shape
    moved = op.trace.type.bytes
    return Cost(flops=2.0 * rows * rows * columns, read=moved, written=moved).over(plan.window)


def _contract(op: Any, plan: Plan, transition: Transition) -> Cost:
    return Cost(flops=2.0 * max(value.type.size for value in op.trace)).over(plan.window)


def _pointwise(op: Any, plan: Plan, transition: Transition) -> Cost:
    return Cost(flops=float(op.results[0].type.size))


def _free(op: Any, plan: Plan, transition: Transition) -> Cost:
    return Cost()


_RULES: dict[type[Operation], Callable[[Any, Plan, Transition], Cost]] = {
    Advance: _advance,
    AdvanceFactored: _advance_factored,
    AdvanceFull: _advance_full,
    Contract: _contract,
    Jacobian: _pointwise,
    Sensitivity: _pointwise,
    Vjp: _free,
    Pullback: _free,
}


def _human(value: float, unit: str) -> str:
    prefixes = ["", "k", "M", "G", "T"]
    while abs(value) >= 999.5 and len(prefixes) > 1:
        value /= 1000
        del prefixes[0]
    return f"{round(value) if value >= 100 else f'{value:.3g}'} {prefixes[0]}{unit}".rstrip()
