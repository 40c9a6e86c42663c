"""The course of one site's output through the groups of hidden states: where it comes in time, and its traces there."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import TypeAlias

from ...coupling import Coupling
from ...ir.plan import Advance, Diagonal, Inflow, Neighbourhood, Outer, Placement, Plain
from ...ir.transition import Association, Param, Site, State, Transition
from ..base import Task
from ..writer import Followed, Writer
from .neighbourhood import trace_type
from .positional import Positional, new_traces, positional_trace

Course: TypeAlias = dict[Association, Coupling]
"""For each group that a site's output is followed to, the positions."""

ROUNDS = 64
"""A course that still grows after so many steps is not followed to its end."""


def followed_traces(plan: Writer, task: Task) -> Iterator[tuple[Positional, Sequence[Param] | None]]:
    """The positional traces of every use of a rule's weights, as far as they are affordable, and what takes them.

    Along their courses through the groups; or else, one hop, at what they feed.
    """
    opened = courses_with_nothing_held(plan, task)
    takers: dict[Site, tuple[Course, list[Param]]] = {}
    for param, courses in opened.items():
        for course in courses:
            takers.setdefault(next(iter(course)).site, (course, []))[1].append(param)
    for course, params in takers.values():
        yield from ((trace, params) for trace in traces_along(plan, course))
    held = [a for a in task.associations if not set(opened).intersection(a.site.weight.params)]
    for site in dict.fromkeys(a.site for a in held):
        uses = [a for a in task.transition.associations if a.site is site and (a.traced or a.indirect)]
        course = affordable_course(task.transition, uses)
        yield from ((trace, None) for trace in traces_along(plan, course))
        yield from ((positional_trace(plan, a), None) for a in uses if a.traced and a not in course)


def affordable_course(transition: Transition, associations: Sequence[Association], *, mixing: bool = True) -> Course:
    """All that one site's output reaches at any time, where its traces take no more than a dense weight's would.

    That is, than the states times the data of a product that feeds them. Groups where it takes more are left out, and
    so is what it reaches only by way of them; unless `mixing`, those too whose own recurrence is dense.
    """
    kept = list(associations)
    while kept:
        active = set(followed_by(kept))
        dear = [] if mixing else [a for a in kept if _mixes(a, active)]
        course = {} if dear else _course(kept, active)
        dear = dear or [a for a in kept if a not in course or not _is_affordable(transition, a, course[a])]
        if not dear:
            return course
        kept = [a for a in kept if a not in dear]
    return {}


def courses_with_nothing_held(plan: Writer, task: Task) -> dict[Param, list[Course]]:
    """For parameters that a mixing operation keeps from the states: the courses of their uses, that one followed too.

    Only where the groups' own recurrence mixes nothing, so that what a use feeds through a dense product is carried on
    position by position (a vector that scales a dense layer's input, say), where that is affordable, and where nothing
    is left out then.
    """
    uses: dict[Param, list[Association]] = {}
    for a in task.transition.associations:
        for param in a.site.weight.params:
            uses.setdefault(param, []).append(a)
    wanted = {p for p, own in uses.items() if any(a.through for a in own) and _are_unmixed(task, own)}
    wanted &= set(task.params)
    wanted -= {p for p, own in uses.items() if any(not wanted.issuperset(a.site.weight.params) for a in own)}
    if not wanted:
        return {}
    opened = plan.open_associations(indirect=True)
    found: dict[Param, list[Course]] = {}
    for param in (p for p in task.params if p in wanted):
        own = [a for a in opened if param in a.site.weight.params]
        courses = [
            affordable_course(plan.transition, [a for a in own if a.site is site], mixing=False)
            for site in dict.fromkeys(a.site for a in own)
        ]
        traces = {a: Followed(_places(a, course), reach) for course in courses for a, reach in course.items()}
        if traces and plan.is_followed(param, traces):
            found[param] = [course for course in courses if course]
    return found


def _are_unmixed(task: Task, associations: Sequence[Association]) -> bool:
    return all(a.group in task.unmixed for a in associations)


def _places(association: Association, course: Course) -> tuple[int, ...]:
    active = followed_by(list(course))
    return tuple(k for k, state in enumerate(association.group.states) if state in active)


def _mixes(association: Association, active: set[State]) -> bool:
    both = (*association.group.jacobian, *association.group.inflow)
    return any(d.coupling.mixes for d in both if d.on in active)


def _is_affordable(transition: Transition, association: Association, reach: Coupling) -> bool:
    group = association.group
    data = max(_summed_data(a.site) for a in transition.every_association if a.group is group)
    return Placement(association, reach).size <= math.prod(group.shape) * data


def _summed_data(site: Site) -> int:
    """How many data each output of a site is a sum over."""
    if site.data is None:
        return 1
    sizes = zip(site.data_labels or "", site.data.type.shape, strict=True)
    return math.prod(size for label, size in sizes if label not in site.expression.output)


def _course(associations: Sequence[Association], active: set[State]) -> Course:
    """What is reached through these groups alone; one that nothing comes to is not in it."""
    course: Course = {a: union for a in associations if (union := a.union) is not None and a.traced}
    for _ in range(ROUNDS):
        further = {a: reach for a in associations if (reach := _one_more(a, course, active)) is not None}
        if further == course:
            break
        course = further
    return course


def _one_more(association: Association, course: Course, active: set[State]) -> Coupling | None:
    """What is reached of one group when others' states have fed it once more, and it itself for ever."""
    reach = course.get(association)
    for other, known in course.items():
        inflow = [d.coupling for d in association.group.inflow if d.on in active and d.on in other.group.states]
        for coupling in dict.fromkeys(inflow):
            reach = _with(reach, coupling.compose(known))
    own = [d.coupling for d in association.group.jacobian if d.on in active]
    moves = [coupling for coupling in dict.fromkeys(own) if coupling.has_off_diagonal]
    if reach is None or not moves:
        return reach
    return _with(reach, reduce(Coupling.join, moves).closure().compose(reach))


def _with(reach: Coupling | None, further: Coupling | None) -> Coupling | None:
    if reach is None or further is None or further == reach:
        return reach if further is None else further
    return reach.join(further)


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
        states = _places(a, course)
        before = new_traces(plan, a, states, trace_type(a, reach), f"e_{a.site.weight.value.hint}")
        own = None if reach == a.union else reach
        traces[a] = Positional(a, states, before, before, own)
    for a in course:
        yield _advanced(plan, traces[a], course[a], traces)


def _advanced(plan: Writer, trace: Positional, reach: Coupling, traces: Mapping[Association, Positional]) -> Positional:
    association, states = trace.association, trace.states
    group, site = association.group, association.site
    dependences = [d for d in group.jacobian if d.of in group.states and d.on in [group.states[k] for k in states]]
    moves = any(d.coupling.has_off_diagonal for d in dependences)
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
        by = Diagonal(association=association, pairs=tuple(pairs), factors=tuple(pairs.values()), reach=trace.reach)
    own = reach if moves else trace.reach
    add: Outer | Plain = Plain(values=(None,) * len(states))
    if association.union is not None:
        sensitivity = plan.sensitivity(association)
        add = Outer(
            association=association, factors=tuple(sensitivity.get(k) for k in states), data=site.data, reach=own
        )
    inflow = tuple(_inflows(plan, trace, reach, traces))
    after = plan.step(
        Advance(trace=trace.before, by=by, add=add, inflow=inflow, loc=site.loc),
        *[f"{v.hint}_next" for v in trace.before],
    )
    for old, new in zip(trace.before, after, strict=True):
        plan.carry(old, new)
    return Positional(association, states, trace.before, after, own)


def _inflows(
    plan: Writer, trace: Positional, reach: Coupling, traces: Mapping[Association, Positional]
) -> Iterator[Inflow]:
    """What the traces on other groups' states add to one."""
    group = trace.association.group
    for source, other in traces.items():
        if source is trace.association or not any(d.on in source.group.states for d in group.inflow):
            continue
        found = plan.inflow(group, source.group)
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
