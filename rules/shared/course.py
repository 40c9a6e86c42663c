"""The course of one site's output through the groups of hidden states: where it comes in time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce

from ...coupling import Coupling
from ...ir.dataflow import HIDDEN
from ...ir.plan import Placement
from ...ir.transition import Association, Param, Site, State, Transition
from ..base import Task
from ..writer import Followed, Writer
from .along import Course, followed_by, places_of, traces_along
from .positional import Positional, positional_trace

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
        for param in filter(lambda p: p.learns, a.site.weight.params):
            uses.setdefault(param, []).append(a)
    wanted = {p for p, own in uses.items() if any(a.through for a in own) and _are_unmixed(task, own)}
    wanted &= set(task.params)
    wanted -= {
        p for p, own in uses.items() if any(p.learns and p not in wanted for a in own for p in a.site.weight.params)
    }
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
        traces = {a: Followed(places_of(a, course), reach) for course in courses for a, reach in course.items()}
        if traces and plan.is_followed(param, traces):
            found[param] = [course for course in courses if course]
    return found


def _are_unmixed(task: Task, associations: Sequence[Association]) -> bool:
    return all(a.group in task.unmixed for a in associations)


def _mixes(association: Association, active: set[State]) -> bool:
    both = (*association.group.jacobian, *association.group.inflow)
    return any(d.coupling.mixes for d in both if d.on in active)


def _is_affordable(transition: Transition, association: Association, reach: Coupling) -> bool:
    """Whether a trace on a reach takes no more than a dense weight's, or than the one without it takes anyway."""
    group = association.group
    data = max(_summed_data(a.site) for a in transition.every_association if a.group is group)
    direct = Placement(association).size if association.traced and group.region == HIDDEN else 0
    return Placement(association, reach).size <= max(math.prod(group.shape) * data, direct)


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
