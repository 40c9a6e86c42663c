"""Positional traces, which several rules carry: one number for each position and each weight that feeds it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ...coupling import Coupling
from ...ir.plan import Advance, Contract, Diagonal, Outer, Placement
from ...ir.plan.jacobian import real_dtype, trace_dtype
from ...ir.transition import Association, Param, Site
from ...ir.types import TensorType
from ...ir.values import Value
from ..writer import Pair, Writer, state_hint
from .alike import Alike


class Positional(NamedTuple):
    """A trace that was written: one value for each followed state, before and after a step."""

    association: Association
    states: tuple[int, ...]
    """The places of the followed states in their group."""
    before: tuple[Value, ...]
    after: tuple[Value, ...]
    reach: Coupling | None = None
    """The positions that it is followed to, where they are not what the site feeds."""
    alike: str = ""
    """The labels of the weight's axes that it has not, since it is the same along them."""


def followed_states(sensitivity: Sequence[int], pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The states that a site feeds, and those that these feed in turn: the trace of any other is zero."""
    active = set(sensitivity)
    while new := {of for of, on in pairs if on in active} - active:
        active |= new
    return tuple(sorted(active))


def positional_trace(plan: Writer, association: Association, *, whole: bool = False) -> Positional:
    """`E' = D E + f (x) x` for one association, written into the plan; if `whole`, with all axes of the weight."""
    jacobian, sensitivity = plan.jacobian(association.group), plan.sensitivity(association)
    states = followed_states(tuple(sensitivity), tuple(jacobian))
    alike = "" if whole else alike_along(plan, association, states)
    kind = TensorType(trace_dtype(association), Placement(association, alike=alike).shape)
    site = association.site
    before = new_traces(plan, association, states, kind, f"e_{site.weight.value.hint}")
    pairs = {(states.index(i), states.index(j)): v for (i, j), v in jacobian.items() if i in states and j in states}
    after = plan.step(
        Advance(
            trace=before,
            by=Diagonal(association=association, pairs=tuple(pairs), factors=tuple(pairs.values()), alike=alike),
            add=Outer(
                association=association,
                factors=tuple(sensitivity.get(k) for k in states),
                data=site.data,
                alike=alike,
            ),
            loc=site.loc,
        ),
        *[f"{v.hint}_next" for v in before],
    )
    for old, new in zip(before, after, strict=True):
        plan.carry(old, new)
    return Positional(association, states, before, after, alike=alike)


def alike_along(plan: Writer, association: Association, states: Sequence[int]) -> str:
    """The labels of a weight's axes along which its trace on some states is the same throughout."""
    transition = plan.transition
    return plan.shared(("alike", transition), lambda: Alike(transition)).along(association, states)


def new_traces(
    plan: Writer, association: Association, states: Sequence[int], kind: TensorType, hint: str
) -> tuple[Value, ...]:
    """A trace for each of some states of an association's group."""
    paths, group = "+".join(association.site.weight.paths), association.group
    return tuple(
        plan.trace(kind, f"{paths} on {group.states[k].path}", state_hint(hint, group, k), loc=association.site.loc)
        for k in states
    )


def read_at_entry(plan: Writer, trace: Positional, takers: Sequence[Param] | None = None) -> None:
    """Contract a trace with the cotangents of the entering states, once a window: the `entry` read-out.

    The parameters of the rule take it, or the `takers` among them.
    """
    entering, association = plan.entering(trace.association.group), trace.association
    weight = association.site.weight
    read = Contract(
        association=association,
        trace=trace.before,
        cotangents=tuple(entering[k] for k in trace.states),
        reach=trace.reach,
        alike=trace.alike,
        loc=association.loc,
    )
    plan.contribute(weight, *plan.window(read, f"g_{weight.value.hint}"), takers=takers)


def column_type(association: Association, site: Site | None = None) -> TensorType:
    """The type of a trace of the data of an association's site, or of another `site`: real unless they are complex."""
    data = (site or association.site).data
    assert data is not None
    dtype = trace_dtype(association)
    return TensorType(dtype if data.type.is_complex else real_dtype(dtype), data.type.shape)


def sample_axis(plan: Writer, association: Association) -> int | None:
    """The axis of a site's output that counts the samples that marks are of; None where it has none."""
    label = Placement(association).samples
    return association.site.expression.output.index(label) if label and plan.samples is not None else None


def along(values: Any, axis: int | None, rank: int) -> Any:
    """One value for each sample, as an array of this rank that goes with others along an axis; a number as it is."""
    return values if axis is None else values.reshape([-1 if k == axis else 1 for k in range(rank)])
