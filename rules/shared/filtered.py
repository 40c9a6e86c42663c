"""Traces of what a step shows, filtered before they are read: `e~' = kappa e~ + dz'/dw`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from ...ir.observable import Observable
from ...ir.plan import Advance, Contract, Placement, Plain, Scalar
from ...ir.plan.jacobian import trace_dtype
from ...ir.plan.placement import align
from ...ir.transition import Association
from ...ir.types import TensorType
from ...ir.values import Value
from ..writer import Writer
from .exit_reading import Signals, add_up
from .exit_regions import Returned
from .positional import Positional, positional_trace


def can_filter(plan: Writer, associations: Sequence[Association]) -> list[Association]:
    """Those associations whose weight reaches everything that is shown of it at the positions of its trace."""
    unfit = {a.site for a in associations if not all(_fits(a, o) for o in _shown(plan, a, associations))}
    return [a for a in associations if a.site not in unfit]


def _shown(plan: Writer, association: Association, among: Sequence[Association]) -> list[Observable]:
    """The observables that one association's trace is read by: of its group, or fed by its site alone.

    What a site feeds of a group that it has no trace on is read by the first of its associations.
    """
    site, group = association.site, association.group
    groups = [a.group for a in among if a.site is site]
    return [
        o for o in plan.exits.observables()
        if o.group is group or (group is groups[0] and o.group not in groups and site in o.sites)
    ]  # fmt: skip


def _fits(association: Association, shown: Observable) -> bool:
    coupling = shown.sites.get(association.site)
    if shown.type.shape != association.group.shape:
        return False
    return coupling is None or (coupling == association.union and Placement(association).slots == 1)


def read_filtered(plan: Writer, associations: Sequence[Association], signals: Signals, kappa: float) -> None:
    """`sum_t <L_t, e~_t>`, `L` the signals."""
    derivatives = {o: _derivatives(plan, o) for o in signals}
    for association in associations:
        trace, site = positional_trace(plan, association), association.site
        shown = _shown(plan, association, associations)
        kind = TensorType(trace_dtype(association), Placement(association).shape)
        after: list[Value] = []
        for o in shown:
            label = f"{'+'.join(site.weight.paths)} on what is shown of {'+'.join(s.path for s in o.group.states)}"
            before = plan.trace(kind, label, f"z_{site.weight.value.hint}", loc=site.loc)
            now = _eligibility(plan, trace, o, derivatives[o])
            advance = Advance(trace=(before,), by=Scalar(factor=kappa), add=Plain(values=(now,)), loc=site.loc)
            after += plan.step(advance, f"{before.hint}_next")
            plan.carry(before, after[-1])
        if shown:
            cotangents = tuple(signals[o] for o in shown)
            read = Contract(association=association, trace=tuple(after), cotangents=cotangents, loc=association.loc)
            add_up(plan, site, *plan.step(read, f"g_{site.weight.value.hint}"))


def _derivatives(plan: Writer, shown: Observable) -> list[Returned]:
    """The derivative of one observable, as credit for ones: in two parts where a real site feeds a complex value."""
    parts = (1, -1j) if shown.type.is_complex else (1,)
    ones = [plan.apply(lambda v=v: jnp.full(shown.type.shape, v, shown.type.dtype), name="ones")[0] for v in parts]
    return [plan.shown_credit({shown: one}) for one in ones]


def _eligibility(plan: Writer, trace: Positional, shown: Observable, sent: Sequence[Returned]) -> Value:
    """`dz'/dw = (dz'/dh) E + (dz'/dy) (x) x`, of one observable, in the layout of the trace."""
    association = trace.association
    site, place = association.site, Placement(association)
    of_group = shown.group is association.group
    states = [association.group.states[k] for k in trace.states] if of_group else []
    factors = [sent[0].states[state] for state in states]
    parts = sent[:1] if site.output.type.is_complex else sent
    own = [part.sites[site] for part in parts] if site in shown.sites else []
    data = [] if site.data is None else [site.data]

    def eligibility(*arrays: Any) -> Any:
        items = iter(arrays)
        terms: list[Any] = []
        for _ in states:
            e, d = next(items), next(items)
            terms.append(align(place.gather(d), place.output, place.trace) * e)
        if own:
            f = next(items)
            f = f + 1j * next(items) if len(own) == 2 else f
            terms.append(place.outer(f, next(items) if data else None))
        total: Any = sum(terms[1:], terms[0])
        return total.astype(trace_dtype(association))

    pairs = [v for e, d in zip(trace.before, factors, strict=False) for v in (e, d)]
    (found,) = plan.apply(eligibility, *pairs, *own, *(data if own else []), name="eligibility")
    return found
