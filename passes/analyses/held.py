"""Which traces stay through steps that do not count, and begin again with sequences: as states do, or held by hand."""

from __future__ import annotations

from functools import cached_property

from ...ir.plan import (
    Advance,
    AdvanceFull,
    Apply,
    Contract,
    ContractPushed,
    Diagonal,
    Inflow,
    Jacobian,
    Neighbourhood,
    Outer,
    Placement,
    Plain,
    Plan,
    Product,
    Project,
    Push,
    Select,
    Sensitivity,
    Trace,
)
from ...ir.transition import Site, Transition
from ...ir.values import Value


class Marked:
    """What a plan's traces do at marked steps."""

    def __init__(self, transition: Transition) -> None:
        """Read the plan."""
        assert transition.plan is not None
        self.transition = transition
        self.plan: Plan = transition.plan
        self.marks = {given.path: given.value for given in transition.inputs if given.mark}
        self.makers = {value: op for op in self.plan.operations for value in op.results}

    def free(self) -> list[Trace]:
        """The traces that would move, or stay, where states do not."""
        loose = {name: self.loose(name) for name in self.marks}
        return [
            trace
            for trace in self.plan.traces
            if any(trace in loose[name] and not self._may_go_on(trace, mark) for name, mark in self.marks.items())
        ]

    def is_late(self, trace: Trace) -> bool:
        """Whether a trace moves at the end of windows."""
        return self.makers.get(trace.after) not in self.plan.step

    def loose(self, name: str) -> list[Trace]:
        """The traces that neither the derivative of the step nor a choice binds to the mark of this name."""
        return [t for t in self.plan.traces if not (self._follows_states(t) or self._is_bound(t, name))]

    def open_signal(self) -> str | None:
        """The path of a signal that something learns from at a step that does not count."""
        if "mask" not in self.marks:
            return None
        return next((s.path for s in self.plan.signals if not self._is_counted(s.value)), None)

    def _is_bound(self, trace: Trace, name: str) -> bool:
        """Whether something keeps a trace where a step does not count, or begins it anew where a sequence begins."""
        mark, made = self.marks[name], self.makers.get(trace.after)
        if name == "mask":
            return isinstance(made, Select) and (
                made.mark is mark or (made.off is trace.before and self._tells(made.mark, mark))
            )
        readers = [op for op in self.plan.step if trace.before in op.operands]
        of_no_sequence = trace.start is not None or self.is_late(trace)  # a key; what a predictor learned
        return of_no_sequence or all(isinstance(op, Select) and op.mark is mark for op in readers)

    def _tells(self, value: Value, mark: Value) -> bool:
        """Whether a value is a mark, or was made of it."""
        made = self.makers.get(value)
        return value is mark or (made is not None and any(self._tells(v, mark) for v in made.operands))

    def axis(self, trace: Trace, mark: Value) -> int | None:
        """The axis along which a mark is to hold a trace, or begin it; the first one for a mark of the whole step.

        None where there is no such axis: the trace is one for all samples, or goes with others that are.
        """
        if not mark.type.shape:
            return 0
        own = self._axes.get(trace.before, self._axes.get(trace.after))
        return own if all(other in self._axes for other in self._drawn_with(trace)) else None

    def _may_go_on(self, trace: Trace, mark: Value) -> bool:
        """Whether a trace is what it is to be where a mark of samples is left to the step itself.

        A random number is nobody's. A random estimate has the mean of what it estimates, of marked steps as of others.
        """
        return bool(mark.type.shape) and (trace.start is not None or bool(self._drawn_with(trace)))

    def _drawn_with(self, trace: Trace) -> list[Value]:
        """The traces before the step that are, with this one, the factors of one random estimate of an influence."""
        made = self.makers.get(trace.after)
        while isinstance(made, Select) and made.on is not None:
            made = self.makers.get(made.on)
        if not isinstance(made, Apply) or not made.estimates:
            return []
        return [other.before for other in self.plan.traces if self._is_made_by(other.after, made)]

    def _is_made_by(self, value: Value, op: Apply) -> bool:
        made = self.makers.get(value)
        while isinstance(made, Select) and made.on is not None:
            made = self.makers.get(made.on)
        return made is op

    @cached_property
    def _axes(self) -> dict[Value, int]:
        return sample_axes(self.transition)

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
    """Of traces, before or after a step, the axis of the samples that are the first axis of every state.

    It is the one that is followed to the states' first axis, sample by sample. Where a plan does not show it, there is
    none, whatever the sizes of axes are.
    """
    assert transition.plan is not None
    found: dict[Value, int] = {}
    of = _Samples(transition)
    for op in transition.plan.operations:
        if isinstance(op, (Contract, Project)):
            place = op.placement if isinstance(op, Contract) else Placement(op.association)
            labels, reads = (place.trace, op.trace) if isinstance(op, Contract) else (place.output, op.factors)
            places = dict.fromkeys((value for value in reads if value is not None), labels.find(place.samples or "?"))
        elif isinstance(op, Product) and op.data is not None:
            places = {op.data: op.data_labels.find(of.data(op.site) or "?")}
        elif isinstance(op, ContractPushed):
            places = dict.fromkeys(op.trace, 1)  # behind the vectors comes the state
        elif isinstance(op, Advance) and isinstance(op.add, Plain):
            makers = [of.makers.get(value) for value in op.add.values if value is not None]
            by_position = makers and all(isinstance(m, Jacobian) and not m.whole and m.group.shape for m in makers)
            places = dict.fromkeys(op.trace, 0 if by_position else -1)  # what is kept of a Jacobian, at its positions
        else:
            continue
        found |= {value: axis for value, axis in places.items() if axis >= 0}
    return found


class _Samples:
    """The label of the samples among those of sites."""

    def __init__(self, transition: Transition) -> None:
        self.transition = transition
        assert transition.plan is not None
        self.makers = {value: op for op in transition.plan.operations for value in op.results}

    def data(self, site: Site) -> str:
        """Of a site's data: by where its output leads, or by the site that its output is the data of."""
        own = [a for a in self.transition.associations if a.site is site and a.union is not None]
        found = {Placement(a).samples for a in own}
        if not own:
            readers = [other for other in self.transition.sites if other.data is site.output]
            places = [(other.data_labels or "").find(self.data(other) or "?") for other in readers]
            found = {site.expression.output[place] if place >= 0 else "" for place in places}
        label = found.pop() if len(found) == 1 else ""
        return label if label in (site.data_labels or "") else ""
