"""hold-traces: traces that stay where a step does not count, and begin where a sequence does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.plan import Operation, Select, Trace, with_values
from ..ir.transition import Transition
from ..ir.values import Value
from .analyses.held import Marked, sample_axes
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
        axes = sample_axes(transition) if any(mark.type.shape for mark in marked.marks.values()) else None
        held = {
            trace: 0 if axes is None else axes.get(trace.before, axes.get(trace.after))
            for trace in marked.free()
            if trace.after in stepped
        }
        chosen = {trace: axis for trace, axis in held.items() if axis is not None}
        if not chosen:
            return transition
        return replace(transition, plan=replace(plan, step=_held(plan.step, chosen, marked.marks)))


def _held(step: tuple[Operation, ...], held: dict[Trace, int], marks: dict[str, Value]) -> tuple[Operation, ...]:
    """The operations of a step in which some traces, by the axis of their samples, are bound to the marks."""
    mask, reset = marks.get("mask"), marks.get("reset")
    found: list[Operation] = []
    begun: dict[Value, Value] = {}
    for trace, axis in held.items():
        if reset is not None and trace.start is None:
            begun[trace.before] = Value(type=trace.before.type, hint=f"{trace.before.hint}_begun")
            choice = Select(mark=reset, off=trace.before, axis=axis, results=(begun[trace.before],), loc=trace.loc)
            found.append(choice)
    of = {trace.after: trace for trace in held}
    for op in step:
        moved = {v: Value(type=v.type, hint=f"{v.hint}_moved") for v in op.results if mask is not None and v in of}
        new = with_values(op, begun)
        found.append(replace(new, results=tuple(moved.get(v, v) for v in op.results)) if moved else new)
        for after, value in moved.items():
            trace, before = of[after], of[after].before
            assert mask is not None
            found.append(
                Select(
                    mark=mask,
                    on=value,
                    off=begun.get(before, before),
                    axis=held[trace],
                    results=(after,),
                    loc=trace.loc,
                )
            )
    return tuple(found)
