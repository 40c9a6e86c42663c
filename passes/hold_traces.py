"""hold-traces: traces that stay where a step does not count, and begin where a sequence does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

from ..ir.plan import Operation, Select, Trace, with_values
from ..ir.transition import Transition
from ..ir.values import Value
from .analyses.held import Marked
from .base import Pass


@dataclass(frozen=True)
class HoldTraces(Pass):
    """Bind to the marks of the step each trace that does not move by the derivative of the step alone.

    A filter of data decays whatever the states do; so what it was is chosen where the step does not count, and zeros
    where a sequence begins. What was drawn with a key (keys, predictors, feedback) begins once. A trace without an axis
    of samples is left as it is where marks are of samples.

    Before: `%X_next = advance(...)`.
    After: `%X_moved = advance(...)`, `%X_next = select(mark=%mask, on=%X_moved, off=%X)`.
    """

    name: ClassVar[str] = "hold-traces"

    def run(self, transition: Transition) -> Transition:
        """The transition, every such trace of its plan held."""
        plan = transition.plan
        if plan is None or not any(given.mark for given in transition.inputs):
            return transition
        marked = Marked(transition)
        stepped = {value for op in plan.step for value in op.results}
        loose = {name: marked.loose(name) for name in marked.marks}
        axes = {
            trace: {name: marked.axis(trace, marked.marks[name]) for name in loose if trace in loose[name]}
            for trace in plan.traces
            if trace.after in stepped
        }
        held = [_Held(trace, of.get("mask"), of.get("reset")) for trace, of in axes.items()]
        chosen = [each for each in held if each.mask is not None or each.reset is not None]
        if not chosen:
            return transition
        return replace(transition, plan=replace(plan, step=_held(plan.step, chosen, marked.marks)))


class _Held(NamedTuple):
    """A trace, and the axes along which marks hold it and begin it; None where one does not."""

    trace: Trace
    mask: int | None
    reset: int | None


def _held(step: tuple[Operation, ...], held: Sequence[_Held], marks: dict[str, Value]) -> tuple[Operation, ...]:
    """The operations of a step in which some traces are bound to the marks."""
    found: list[Operation] = []
    begun: dict[Value, Value] = {}
    for trace, _, axis in held:
        if axis is not None:
            begun[trace.before] = Value(type=trace.before.type, hint=f"{trace.before.hint}_begun")
            results = (begun[trace.before],)
            found.append(Select(mark=marks["reset"], off=trace.before, axis=axis, results=results, loc=trace.loc))
    of = {trace.after: (trace, axis) for trace, axis, _ in held if axis is not None}
    for op in step:
        moved = {v: Value(type=v.type, hint=f"{v.hint}_moved") for v in op.results if v in of}
        new = with_values(op, begun)
        found.append(replace(new, results=tuple(moved.get(v, v) for v in op.results)) if moved else new)
        for after, value in moved.items():
            trace, axis = of[after]
            off = begun.get(trace.before, trace.before)
            found.append(
                Select(mark=marks["mask"], on=value, off=off, axis=axis, results=(after,), loc=trace.loc)
            )  # fmt: skip
    return tuple(found)
