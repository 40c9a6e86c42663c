"""Which traces stay through steps that do not count, and begin again with sequences: as states do, or held by hand."""

from __future__ import annotations

from collections.abc import Iterator

from ...ir.plan import (
    Advance,
    AdvanceFull,
    Apply,
    ContractPushed,
    Diagonal,
    Inflow,
    Jacobian,
    Neighbourhood,
    Outer,
    Plan,
    Product,
    Push,
    Select,
    Sensitivity,
    Trace,
)
from ...ir.plan.axes import Axes, of_data, of_traces
from ...ir.transition import Transition
from ...ir.values import Value

SAMPLES = "samples"


class Marked:
    """What a plan's traces do at marked steps."""

    def __init__(self, transition: Transition) -> None:
        """Read the plan."""
        assert transition.plan is not None
        self.plan: Plan = transition.plan
        self.marks = {given.path: given.value for given in transition.inputs if given.mark}
        self.makers = {value: op for op in self.plan.operations for value in op.results}

    def free(self) -> list[Trace]:
        """The traces that would move, or stay, where states do not."""
        return [trace for trace in self.plan.traces if not (self._follows_states(trace) or self.is_held(trace))]

    def open_signal(self) -> str | None:
        """The path of a signal that something learns from at a step that does not count."""
        if "mask" not in self.marks:
            return None
        return next((s.path for s in self.plan.signals if not self._is_counted(s.value)), None)

    def is_held(self, trace: Trace) -> bool:
        """Whether something keeps a trace where a step does not count, and something begins it anew."""
        made = self.makers.get(trace.after)
        if made not in self.plan.step:  # a predictor, say: it is of no sequence
            return "mask" not in self.marks
        mask, reset = (self.marks.get(name) for name in ("mask", "reset"))
        drawn = trace.start is not None
        stays = mask is None or (drawn and bool(mask.type.shape)) or (isinstance(made, Select) and made.mark is mask)
        readers = [op for op in self.plan.step if trace.before in op.operands]
        return stays and (reset is None or drawn or all(isinstance(op, Select) and op.mark is reset for op in readers))

    def _is_counted(self, value: Value) -> bool:
        """Whether all that is made of a value is zero where the step does not count."""
        readers = [op for op in self.plan.operations if value in op.operands]
        return all(
            (isinstance(op, Select) and op.mark is self.marks["mask"] and op.off is None)
            or (isinstance(op, Apply) and all(map(self._is_counted, op.results)))
            for op in readers
        )

    def _follows_states(self, trace: Trace) -> bool:
        """Whether a trace moves by the derivative of the step alone: it stays, and begins, where states do."""
        if trace.before is trace.after:
            return True
        advance = self.makers[trace.after]
        if isinstance(advance, Push):
            return trace.before in advance.tangents
        if not isinstance(advance, Advance):
            return isinstance(advance, AdvanceFull)
        by, drives = advance.by, (advance.add, *advance.inflow)
        if not isinstance(by, (Diagonal, Neighbourhood)):
            return False
        factors: list[Value | None] = list(by.factors)
        for drive in drives:
            if not isinstance(drive, (Outer, Inflow)):
                return False
            factors += drive.factors
        return all(value is None or isinstance(self.makers.get(value), (Jacobian, Sensitivity)) for value in factors)


def sample_axes(transition: Transition) -> dict[Value, int]:
    """Of traces, before or after a step, the axis of the samples that are the first axis of every state."""
    assert transition.plan is not None
    states = {g: (SAMPLES, *[None] * (len(g.shape) - 1)) for g in transition.every_group if g.shape}
    found = of_traces(transition, states) | dict(_of_columns(transition, of_data(transition, states)))
    known = {value: axes.index(SAMPLES) for value, axes in found.items() if SAMPLES in axes}
    for op in transition.plan.operations:
        if isinstance(op, ContractPushed):
            known |= dict.fromkeys(op.trace, 1)  # behind the vectors comes the state
    return known


def _of_columns(transition: Transition, data: dict[Value, Axes]) -> Iterator[tuple[Value, Axes]]:
    """The axes of what stands in the place of a site's data, some of its labels left out."""
    assert transition.plan is not None
    for op in transition.plan.operations:
        if isinstance(op, Product) and op.without and op.data is not None and op.site.data in data:
            pairs = zip(op.site.data_labels or "", data[op.site.data], strict=True)
            yield op.data, tuple(axis for label, axis in pairs if label not in op.without)
