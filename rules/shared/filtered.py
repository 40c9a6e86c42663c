"""Traces of what a step shows, filtered before they are read: `e~' = kappa e~ + dz'/dw`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ...ir.observable import Observable
from ...ir.plan import Advance, Contract, Passed, Placement, Scalar
from ...ir.plan.jacobian import trace_dtype, widest
from ...ir.transition import Association
from ...ir.types import TensorType
from ...ir.values import Value
from ..writer import Writer
from .exit_reading import Signals, add_up
from .positional import Positional, positional_trace


def can_filter(plan: Writer, associations: Sequence[Association]) -> list[Association]:
    """Those associations whose weight reaches everything that is shown of it at the positions of its trace."""
    unfit = {a.site for a in associations if not all(fits(a, o) for o in _shown(plan, a, associations))}
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


def fits(association: Association, shown: Observable) -> bool:
    """Whether a weight reaches an observable at the positions of its trace."""
    coupling = shown.sites.get(association.site)
    if shown.type.shape != association.group.shape:
        return False
    return coupling is None or (coupling == association.union and Placement(association).slots == 1)


def read_filtered(plan: Writer, associations: Sequence[Association], signals: Signals, kappa: float) -> None:
    """`sum_t <L_t, e~_t>`, `L` the signals."""
    for association in associations:
        trace, site = positional_trace(plan, association, whole=True), association.site
        shown = _shown(plan, association, associations)
        after = [filtered_trace(plan, trace, o, kappa).after for o in shown]
        if shown:
            cotangents = tuple(signals[o] for o in shown)
            read = Contract(association=association, trace=tuple(after), cotangents=cotangents, loc=association.loc)
            add_up(plan, site, *plan.step(read, f"g_{site.weight.value.hint}"))


class Filtered(NamedTuple):
    """A filtered trace that was written: its value before and after a step."""

    before: Value
    after: Value


def filtered_trace(plan: Writer, trace: Positional, shown: Observable, by: complex) -> Filtered:
    """`e~' = by e~ + dz'/dw` of one observable, in the layout of the trace."""
    association = trace.association
    site = association.site
    dtype = trace_dtype(association) if not by.imag else widest(trace_dtype(association), "complex64")
    kind = TensorType(dtype, Placement(association).shape)
    label = f"{'+'.join(site.weight.paths)} on what is shown of {'+'.join(s.path for s in shown.group.states)}"
    before = plan.trace(kind, label, f"z_{site.weight.value.hint}", loc=site.loc)
    advance = Advance(
        trace=(before,),
        by=Scalar(factor=by.real, imaginary=by.imag),
        add=_passed(plan, trace, shown),
        loc=site.loc,
    )
    (after,) = plan.step(advance, f"{before.hint}_next")
    plan.carry(before, after)
    return Filtered(before, after)


def _passed(plan: Writer, trace: Positional, shown: Observable) -> Passed:
    """`dz'/dw = (dz'/dh) E + (dz'/dy) (x) x`, of one observable; the derivatives are credit for ones.

    In two parts where a real site feeds a complex value.
    """
    site, group = trace.association.site, trace.association.group
    of_group = shown.group is group
    parts = (False, True) if shown.type.is_complex and not site.output.type.is_complex else (False,)
    sent = [plan.shown_credit({shown: plan.ones(shown.type, turned=turned)}) for turned in parts]
    return Passed(
        association=trace.association,
        trace=trace.before if of_group else (),
        factors=tuple(sent[0].states[group.states[k]] for k in trace.states) if of_group else (),
        own=tuple(part.sites[site] for part in sent) if site in shown.sites else (),
        data=site.data,
    )
