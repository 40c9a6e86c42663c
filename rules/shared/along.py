"""Positional traces along the course of one site's output through groups of hidden states, written into a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeAlias

from ...coupling import Coupling
from ...ir.plan import Advance, Diagonal, Inflow, Neighbourhood, Outer, Placement, Plain
from ...ir.plan.jacobian import trace_dtype
from ...ir.transition import Association, State
from ...ir.types import TensorType
from ..writer import Writer
from .positional import Positional, alike_along, new_traces

Course: TypeAlias = dict[Association, Coupling]
"""For each group that a site's output is followed to, the positions."""


def places_of(association: Association, course: Collection[Association]) -> tuple[int, ...]:
    """The places in an association's group of the states that are followed along a course."""
    active = followed_by(list(course))
    return tuple(k for k, state in enumerate(association.group.states) if state in active)


def followed_by(associations: Sequence[Association]) -> list[State]:
    """The states that a site's output reaches at once, and those that these feed in turn, in the groups given."""
    direct = (zip(a.group.states, a.couplings, strict=True) for a in associations if a.traced)
    found = {state: None for pairs in direct for state, coupling in pairs if coupling is not None}
    dependences = [d for a in associations for d in (*a.group.jacobian, *a.group.inflow)]
    while new := {d.of for d in dependences if d.on in found and d.of not in found}:
        found |= dict.fromkeys(sorted(new, key=lambda state: state.path))
    return list(found)


def traces_along(plan: Writer, course: Course) -> Iterator[Positional]:
    """`E' = D E + f (x) x`, and what traces on other groups' states add, for every group of one site's course."""
    traces: dict[Association, Positional] = {}
    for a, reach in course.items():
        states = places_of(a, course)
        own = None if reach == a.union else reach
        alike = alike_along(plan, a, states) if own is None and len(course) == 1 else ""
        before = new_traces(plan, a, states, trace_type(a, reach, alike), f"e_{a.site.weight.value.hint}")
        traces[a] = Positional(a, states, before, before, own, alike)
    for a in course:
        yield _advanced(plan, traces[a], course[a], traces)


def _advanced(plan: Writer, trace: Positional, reach: Coupling, traces: Mapping[Association, Positional]) -> Positional:
    association, states = trace.association, trace.states
    group, site = association.group, association.site
    followed = [group.states[k] for k in states]
    moves = any(d.coupling.has_off_diagonal for d in group.jacobian if d.on in followed)
    jacobian = plan.jacobian(group, whole=moves)
    pairs = {(states.index(i), states.index(j)): v for (i, j), v in jacobian.items() if i in states and j in states}
    by: Diagonal | Neighbourhood
    if moves:
        couplings = [group.dependence(group.states[states[i]], group.states[states[j]]) for i, j in pairs]
        by = Neighbourhood(
            association=association,
            reach=reach,
            pairs=tuple(pairs),
            couplings=tuple(c for c in couplings if c is not None),
            factors=tuple(pairs.values()),
        )
    else:
        by = Diagonal(
            association=association,
            pairs=tuple(pairs),
            factors=tuple(pairs.values()),
            reach=trace.reach,
            alike=trace.alike,
        )
    own = reach if moves else trace.reach
    add: Outer | Plain = Plain(values=(None,) * len(states))
    if association.union is not None:
        sensitivity = plan.sensitivity(association)
        add = Outer(
            association=association,
            factors=tuple(sensitivity.get(k) for k in states),
            data=site.data,
            reach=own,
            alike=trace.alike,
        )
    inflow = tuple(_inflows(plan, trace, reach, traces))
    after = plan.step(
        Advance(trace=trace.before, by=by, add=add, inflow=inflow, loc=site.loc),
        *[f"{v.hint}_next" for v in trace.before],
    )
    for old, new in zip(trace.before, after, strict=True):
        plan.carry(old, new)
    return Positional(association, states, trace.before, after, own, trace.alike)


def _inflows(
    plan: Writer, trace: Positional, reach: Coupling, traces: Mapping[Association, Positional]
) -> Iterator[Inflow]:
    """What the traces on other groups' states add to one."""
    group = trace.association.group
    for source, other in traces.items():
        if source is trace.association or not any(d.on in source.group.states for d in group.inflow):
            continue
        found = plan.jacobian(group, whole=True, on=source.group)
        kept = {(i, j): value for (i, j), value in found.items() if i in trace.states and j in other.states}
        couplings = [group.dependence(group.states[i], source.group.states[j]) for i, j in kept]
        source_reach = other.reach or source.union
        assert source_reach is not None
        if kept:
            yield Inflow(
                association=trace.association,
                reach=reach,
                source=source,
                source_reach=source_reach,
                trace=other.before,
                pairs=tuple((trace.states.index(i), other.states.index(j)) for i, j in kept),
                couplings=tuple(c for c in couplings if c is not None),
                factors=tuple(kept.values()),
            )


def trace_type(association: Association, reach: Coupling, alike: str = "") -> TensorType:
    """The type of each of a trace's arrays, one for each state that is followed."""
    return TensorType(trace_dtype(association), Placement(association, reach, alike).shape)
