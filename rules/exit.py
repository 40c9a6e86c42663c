"""Traces read at each step's exit, as several rules read them: the credit of one step, summed over the window."""

from __future__ import annotations

from collections.abc import Sequence

from ..ir.plan import Contract, Product, Total
from ..ir.transition import Association, Site
from ..ir.values import Value
from .positional import positional_trace
from .writer import Returned, Writer


def read_at_exit(plan: Writer, associations: Sequence[Association], credit: Returned) -> None:
    """`sum_t <h_bar_t, E> + <y_bar_t, x_t>`: traces as they enter each step, and the step's own use of each weight.

    `h_bar` and `y_bar` are what a step sends back to the old states and to sites' outputs. Where that comes by way of
    the new states alone, it is `sum_t <L_t, E'_t>` with `L` the credit of the new states.
    """
    for association in associations:
        trace, site = positional_trace(plan, association), association.site
        states = association.group.states
        cotangents = tuple(credit.states[states[k]] for k in trace.states)
        read = Contract(association=association, trace=trace.before, cotangents=cotangents, loc=association.loc)
        add_up(plan, site, *plan.step(read, f"g_{site.weight.value.hint}"))
    for site in dict.fromkeys(a.site for a in associations):
        own = Product(site=site, data=site.data, cotangent=credit.sites[site], loc=site.loc)
        add_up(plan, site, *plan.step(own, f"g_{site.weight.value.hint}"))


def add_up(plan: Writer, site: Site, value: Value) -> None:
    """Give a site's weight the sum of a value over the window's steps, in the place of reverse mode's gradient."""
    plan.detach(site)
    plan.contribute(site.weight, *plan.window(Total(value=value), value.hint))


def reached(plan: Writer, associations: Sequence[Association]) -> list[Association]:
    """Those of some associations whose site or old states a step's outputs say anything of in that same step.

    The others have nothing to be read at a step's exit: they are left to reverse mode.
    """
    return [a for a in associations if plan.exits.reaches(a.site, a.group)]
