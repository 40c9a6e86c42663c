"""Traces that are followed from position to position, which several rules carry: how far, and how they are written."""

from __future__ import annotations

import math

from ...coupling import Coupling
from ...ir.plan import Advance, Neighbourhood, Outer, Placement
from ...ir.plan.jacobian import trace_dtype
from ...ir.plan.links import is_closed
from ...ir.transition import Association
from ...ir.types import TensorType
from ..writer import Writer
from .positional import Positional, followed_states, new_traces, positional_trace


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
    place = {state: k for k, state in enumerate(association.group.states)}
    pairs = [(place[d.of], place[d.on]) for d in association.group.jacobian]
    return followed_states([k for k, coupling in enumerate(association.couplings) if coupling is not None], pairs)


def _followed(association: Association) -> list[Coupling]:
    """The group's dependences on the states that are followed."""
    states = [association.group.states[k] for k in fed_states(association)]
    return [d.coupling for d in association.group.jacobian if d.on in states]


def trace_type(association: Association, reach: Coupling) -> TensorType:
    """The type of each of a trace's arrays, one for each state that is followed."""
    return TensorType(trace_dtype(association), Placement(association, reach).shape)


def _onward(reach: Coupling, recurrence: Coupling) -> Coupling:
    further = recurrence.compose(reach)
    return reach if further is None else reach.join(further)


def neighbourhood_trace(plan: Writer, association: Association, reach: Coupling) -> Positional:
    """`E' = D E + f (x) x` on the positions of a reach, for one association, written into the plan.

    Where each output is followed to one position, or the recurrence leads from no position to another one, `D` is
    diagonal on the reach, and the trace is the positional one.
    """
    group, site = association.group, association.site
    place = Placement(association, reach)
    recurrence = _followed(association)
    moves = any(coupling.has_off_diagonal for coupling in recurrence)
    if not moves or (place.slots == 1 and not is_closed(reach, recurrence)):
        return positional_trace(plan, association)
    jacobian, sensitivity = plan.jacobian(group, whole=True), plan.sensitivity(association)
    states = followed_states(tuple(sensitivity), tuple(jacobian))
    before = new_traces(plan, association, states, trace_type(association, reach), f"e_{site.weight.value.hint}")
    pairs = {(states.index(i), states.index(j)): v for (i, j), v in jacobian.items() if i in states and j in states}
    couplings = [group.dependence(group.states[states[i]], group.states[states[j]]) for i, j in pairs]
    after = plan.step(
        Advance(
            trace=before,
            by=Neighbourhood(
                association=association,
                reach=reach,
                pairs=tuple(pairs),
                couplings=tuple(c for c in couplings if c is not None),
                factors=tuple(pairs.values()),
            ),
            add=Outer(
                association=association, factors=tuple(sensitivity.get(k) for k in states), data=site.data, reach=reach
            ),
            loc=site.loc,
        ),
        *[f"{v.hint}_next" for v in before],
    )
    for old, new in zip(before, after, strict=True):
        plan.carry(old, new)
    return Positional(association, states, before, after, reach)
