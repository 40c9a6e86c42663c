"""Traces that are followed from position to position, which several rules carry: how far, and how they are written."""

from __future__ import annotations

import math

from ..coupling import Coupling
from ..ir.plan import Advance, Neighbourhood, Outer, Placement
from ..ir.plan.jacobian import trace_dtype
from ..ir.plan.links import is_closed
from ..ir.transition import Association, Group
from ..ir.types import TensorType
from .positional import Positional, followed_states, new_traces, positional_trace
from .writer import Writer


def reach_after(association: Association, steps: int | None) -> Coupling:
    """The state positions that a site's output reaches within some steps; at any time where `steps` is None.

    The first step is what it feeds directly; each further one follows the group's recurrence once more. The states of
    a group share what is reached.
    """
    reach = association.union
    assert reach is not None, "an untraced association reaches nothing"
    recurrence = _recurrence(association.group)
    if recurrence is None:
        return reach
    if steps is None:
        reach = _onward(reach, recurrence.closure())
    for _ in range(steps - 1 if steps is not None else math.prod(recurrence.in_shape)):
        if is_closed(reach, [recurrence]):
            break
        reach = _onward(reach, recurrence)
    return reach


def _recurrence(group: Group) -> Coupling | None:
    """How any new state of a group depends on any old one; None where none does."""
    found: Coupling | None = None
    for dependence in group.jacobian:
        found = dependence.coupling if found is None else found.join(dependence.coupling)
    return found


def _onward(reach: Coupling, recurrence: Coupling) -> Coupling:
    further = recurrence.compose(reach)
    return reach if further is None else reach.join(further)


def neighbourhood_trace(plan: Writer, association: Association, reach: Coupling) -> Positional:
    """`E' = D E + f (x) x` on the positions of a reach, for one association, written into the plan.

    Where each position is followed to itself alone, or the recurrence leads from no position to another one, `D` is
    diagonal, and the trace is the positional one.
    """
    group, site = association.group, association.site
    place = Placement(association, reach)
    moves = any(d.coupling.has_off_diagonal for d in group.jacobian)
    if not moves or place.is_identity:
        return positional_trace(plan, association)
    jacobian, sensitivity = plan.jacobian(group, whole=True), plan.sensitivity(association)
    states = followed_states(tuple(sensitivity), tuple(jacobian))
    before = new_traces(plan, association, states, TensorType(trace_dtype(association), place.shape),
                        f"e_{site.weight.value.hint}")  # fmt: skip
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
