"""Traces that are followed from position to position, which several rules carry: how far, and how they are written."""

from __future__ import annotations

import math

from ...coupling import Coupling
from ...ir.plan import Placement
from ...ir.plan.links import is_closed
from ...ir.transition import Association
from ..writer import Writer
from .along import places_of, traces_along
from .positional import Positional, positional_trace


def reach_after(association: Association, steps: int | None) -> Coupling:
    """The state positions that a site's output reaches within some steps; at any time where `steps` is None.

    The first step is what it feeds directly; each further one follows the group's recurrence once more. The states of
    a group share what is reached.
    """
    reach = association.union
    assert reach is not None, "an untraced association reaches nothing"
    recurrence = _recurrence(association)
    if recurrence is None or not recurrence.has_off_diagonal:
        return reach
    if steps is None:
        reach = _onward(reach, recurrence.closure())
    for _ in range(steps - 1 if steps is not None else math.prod(recurrence.in_shape)):
        if is_closed(reach, [recurrence]):
            break
        reach = _onward(reach, recurrence)
    return reach


def _recurrence(association: Association) -> Coupling | None:
    """How any new state that is followed depends on any old one; None where none does."""
    found: Coupling | None = None
    for coupling in dict.fromkeys(_followed(association)):
        found = coupling if found is None else found.join(coupling)
    return found


def fed_states(association: Association) -> tuple[int, ...]:
    """The places of the states that an association feeds, at once or by way of each other."""
    return places_of(association, [association])


def _followed(association: Association) -> list[Coupling]:
    """The group's dependences on the states that are followed."""
    states = [association.group.states[k] for k in fed_states(association)]
    return [d.coupling for d in association.group.jacobian if d.on in states]


def _onward(reach: Coupling, recurrence: Coupling) -> Coupling:
    further = recurrence.compose(reach)
    return reach if further is None else reach.join(further)


def neighbourhood_trace(plan: Writer, association: Association, reach: Coupling) -> Positional:
    """`E' = D E + f (x) x` on the positions of a reach, for one association, written into the plan.

    Where each output is followed to one position, or the recurrence leads from no position to another one, `D` is
    diagonal on the reach, and the trace is the positional one.
    """
    place = Placement(association, reach)
    recurrence = _followed(association)
    moves = any(coupling.has_off_diagonal for coupling in recurrence)
    if not moves or (place.slots == 1 and not is_closed(reach, recurrence)):
        return positional_trace(plan, association)
    (trace,) = traces_along(plan, {association: reach})
    return trace
