"""Which contractions read a positional trace that is the derivative, and what they are read with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...coupling import Coupling
from ...ir.plan import (
    Advance,
    Contract,
    Credit,
    Diagonal,
    Inflow,
    Jacobian,
    LossSignal,
    Neighbourhood,
    Outer,
    Plain,
    Sensitivity,
)
from ...ir.plan.links import is_closed
from ...ir.regions import EXIT
from ...ir.transition import Association, Group, Site, State, Transition
from ...ir.values import Value
from ...rules.shared.alike import Alike
from .provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A trace that is advanced by the derivative: of which association, on which states and positions."""

    association: Association
    states: tuple[int, ...]
    """The places in the group of the states that it follows, array by array."""
    reach: Coupling | None
    """The positions, where they are not what the site feeds."""
    alike: str
    """The labels of the weight's axes that it has not."""
    moving: bool
    """Whether it is carried from position to position."""
    taken: frozenset[tuple[State, State]] = frozenset()
    """Where it takes in what traces of the same site on other groups' states add: (old state, new state)."""


class PositionalTraces:
    """The pattern `E' = D E + f (x) x`, read as `<h_bar, E>`."""

    def __init__(self, transition: Transition, provenance: Provenance) -> None:
        """Prepare for the values of one plan."""
        self.transition, self.made, self.alike = transition, provenance, Alike(transition)
        self._known: dict[tuple[Value, ...], Course | None] = {}
        self._states = self._states_of_traces()

    def followed(self, op: Contract) -> Course | None:
        """The course of the trace that a contraction reads; None where its `D`, `f` or `x` is another."""
        course = self.course(op.trace)
        if course is None or course.association is not op.association:
            return None
        return course if (course.reach, course.alike) == (op.reach, op.alike) else None

    def course(self, trace: tuple[Value, ...]) -> Course | None:
        """What a trace follows where it is the derivative; traces that add to each other are taken to be so at first.

        That is sound: each step of each is checked, and all begin as zeros, as derivatives do.
        """
        if trace not in self._known:
            self._known[trace] = found = self._own_course(trace)
            if found is not None:
                self._known[trace] = self._with_inflow(trace, found)
        return self._known[trace]

    def _advance(self, trace: tuple[Value, ...]) -> Advance | None:
        """The operation that advances the whole trace, from zeros."""
        traces = [t for t in map(self.made.trace_of.get, trace) if t is not None and t.start is None]
        advance = self.made.maker.get(traces[0].after) if traces else None
        before, after = tuple(t.before for t in traces), tuple(t.after for t in traces)
        if type(advance) is not Advance or not trace == advance.trace == before or advance.results != after:
            return None
        return advance

    def _own_course(self, trace: tuple[Value, ...]) -> Course | None:
        """What a trace follows, what others add to it left out."""
        advance = self._advance(trace)
        association = getattr(advance.by, "association", None) if advance is not None else None
        if advance is None or not isinstance(association, Association):
            return None
        by, reach, states = advance.by, getattr(advance.by, "reach", None), self._followed(advance, association)
        if states is None or not self._jacobian_factors(by, association.group, states):
            return None
        alike, moving = getattr(by, "alike", ""), type(by) is Neighbourhood
        if alike and (reach is not None or not set(alike) <= set(self.alike.along(association, states))):
            return None
        return Course(association=association, states=states, reach=reach, alike=alike, moving=moving)

    def _with_inflow(self, trace: tuple[Value, ...], course: Course) -> Course | None:
        """The course with what it takes in of other traces; None where that is no derivative."""
        advance, taken = self._advance(trace), set[tuple[State, State]]()
        assert advance is not None
        for inflow in advance.inflow:
            source = self.course(inflow.trace)
            pairs = self._inflow_pairs(inflow, course, source) if source is not None else None
            if pairs is None or taken.intersection(pairs):
                return None
            taken.update(pairs)
        return replace(course, taken=frozenset(taken))

    def _inflow_pairs(self, inflow: Inflow, course: Course, source: Course) -> set[tuple[State, State]] | None:
        """Which old states feed which new ones by an inflow; None where a factor of it is something else."""
        a, other = course.association, source.association
        ends = inflow.association is a and inflow.source is other and a.site is other.site
        placed = inflow.reach == (course.reach or a.union) and inflow.source_reach == (source.reach or other.union)
        if not ends or not placed or not is_closed(inflow.reach, inflow.couplings, inflow.source_reach):
            return None
        found: list[tuple[State, State]] = []
        for (i, j), coupling, value in zip(inflow.pairs, inflow.couplings, inflow.factors, strict=True):
            made, pair = self.made.maker.get(value), (course.states[i], source.states[j])
            if type(made) is not Jacobian or made.group is not a.group or made.on is not other.group:
                return None
            if made.pairs[made.results.index(value)] != pair or coupling != made.coupling(*pair):
                return None
            found.append((other.group.states[pair[1]], a.group.states[pair[0]]))
        return set(found) if len(set(found)) == len(found) else None

    def _states_of_traces(self) -> dict[Value, tuple[Association, int]]:
        """For a trace's value the state that its reader takes it to be of."""
        found: dict[Value, tuple[Association, int]] = {}
        for op in self.made.plan.operations:
            if type(op) is Contract:
                for value, cotangent in zip(op.trace, op.cotangents, strict=False):
                    state = self.state_of(cotangent, op.association.group)
                    if state is not None:
                        found[value] = (op.association, state)
        return found

    def _followed(self, advance: Advance, association: Association) -> tuple[int, ...] | None:
        """Which state each array of a trace is of, by the sensitivity that drives it, or else by its cotangent."""
        add, reach = advance.add, getattr(advance.by, "reach", None)
        fed = {k for k, c in enumerate(association.couplings) if c is not None}
        factors: tuple[Value | None, ...] = (None,) * len(advance.trace)
        if type(add) is Outer:
            right = add.association is association and add.data is association.site.data and add.reach == reach
            factors = add.factors if right else ()
        elif type(add) is not Plain or any(value is not None for value in add.values):
            return None
        found: list[int] = []
        for value, factor in zip(advance.trace, factors, strict=False):
            made = self.made.maker.get(factor) if factor is not None else None
            if type(made) is Sensitivity and made.association is association:
                found.append(made.states[made.results.index(factor)])  # pyright: ignore[reportArgumentType]
            elif factor is None and self._states.get(value, (None, 0))[0] is association:
                found.append(self._states[value][1])
            else:
                return None
        driven = {k for k, factor in zip(found, factors, strict=False) if factor is not None}
        complete = len(found) == len(advance.trace) == len(set(found)) and driven == fed
        return tuple(found) if complete else None

    def state_of(self, cotangent: Value, group: Group) -> int | None:
        """The place in its group of the state that a cotangent or an exit signal is of."""
        if cotangent in self.made.entering:
            state = self.transition.hidden[self.made.entering.index(cotangent)]
            return group.states.index(state) if state in group.states else None
        state = self.loss_credit(cotangent)
        return group.states.index(state) if isinstance(state, State) and state in group.states else None

    def loss_credit(self, value: Value) -> State | Site | None:
        """The old state, or the site, that a value is the cotangent of as the loss of the step sends it back."""
        made, t = self.made.maker.get(value), self.transition
        if type(made) is not Credit or made.region != EXIT or not made.cotangents:
            return None
        loss = self.made.maker.get(made.cotangents[0]) if made.cotangents[0] is not None else None
        if type(loss) is not LossSignal or made.cotangents != loss.results:
            return None
        return (*t.hidden, *t.sites)[made.results.index(value)]

    def _jacobian_factors(self, by: Any, group: Group, states: tuple[int, ...]) -> bool:
        """Whether a transfer has every entry of the group's Jacobian among the followed states, and nothing else."""
        whole = type(by) is Neighbourhood
        if not whole and (type(by) is not Diagonal or by.at_output):
            return False
        wanted = {
            (i, j)
            for i, of in enumerate(group.states)
            for j, on in enumerate(group.states)
            if j in states and (c := group.dependence(of, on)) is not None and (whole or c.has_diagonal)
        }
        found: set[tuple[int, int]] = set()
        for n, ((i, j), value) in enumerate(zip(by.pairs, by.factors, strict=True)):
            made, pair = self.made.maker.get(value), (states[i], states[j])
            if type(made) is not Jacobian or made.group is not group or made.on is not None or made.whole != whole:
                return False
            if made.pairs[made.results.index(value)] != pair or pair in found:
                return False
            if whole and by.couplings[n] != group.dependence(group.states[pair[0]], group.states[pair[1]]):
                return False
            found.add(pair)
        return found == wanted

    def is_of_loss(self, value: Value) -> bool:
        """Whether a cotangent is one that the loss of its step, and nothing else, sends back."""
        made = self.made.maker.get(value)
        ends = [self.made.maker.get(c) for c in made.cotangents if c is not None] if type(made) is Credit else []
        return bool(ends) and all(type(end) is LossSignal for end in ends)
