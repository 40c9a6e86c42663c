"""What rules share that read traces at each step's exit: signals, and one step's credit, summed over the window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.diagnostics import error
from ...ir.observable import Observable
from ...ir.plan import Contract, Product, Total
from ...ir.transition import Association, Output, Site
from ...ir.types import TensorType
from ...ir.values import Value
from ..writer import Writer
from .exit_regions import Returned
from .positional import positional_trace

Signals = dict[Observable, Value]
"""A learning signal for each observable: what stands in the place of the loss's derivative by it."""


def learn_at_exit(plan: Writer, associations: Sequence[Association], feedback: str) -> None:
    """Traces read at each step's exit with the loss's own derivative (`symmetric`), or with `random` feedback."""
    check_feedback(plan, feedback)
    if feedback == "random":
        chosen = seen(plan, associations)
        read_at_exit(plan, chosen, lambda: plan.shown_credit(random_signals(plan, chosen)))
    else:
        read_at_exit(plan, reached(plan, associations), plan.exit_credit)


def check_feedback(plan: Writer, feedback: str) -> None:
    """Refuse a word for feedback that means nothing."""
    if feedback not in ("symmetric", "random"):
        name = plan.rule.name
        raise error("rule-option", f"{name} has feedback={feedback!r}; wanted 'symmetric' or 'random'")


def reached(plan: Writer, associations: Sequence[Association]) -> list[Association]:
    """Those whose site, or the old states of whose group, a step's outputs say anything of in that same step.

    The others would be read with nothing: they are left to reverse mode.
    """
    return [a for a in associations if plan.exits.reaches(a.site, a.group.states)]


def read_at_exit(plan: Writer, associations: Sequence[Association], credit: Any) -> None:
    """`sum_t <h_bar_t, E_t> + <y_bar_t, x_t>`: traces as they enter each step, and the step's own use of each weight.

    `h_bar` and `y_bar` are what the step sends back to old states and to sites' outputs (`credit()`). Where that comes
    by way of the new states alone, this is `sum_t <L_t, E'_t>` with `L` the credit of the new states.
    """
    if not associations:
        return
    sent: Returned = credit()
    for association in associations:
        trace, site = positional_trace(plan, association), association.site
        cotangents = tuple(sent.states[association.group.states[k]] for k in trace.states)
        read = Contract(
            association=association,
            trace=trace.before,
            cotangents=cotangents,
            alike=trace.alike,
            loc=association.loc,
        )
        add_up(plan, site, *plan.step(read, f"g_{site.weight.value.hint}"))
    for site in dict.fromkeys(a.site for a in associations):
        own = Product(site=site, data=site.data, cotangent=sent.sites[site], loc=site.loc)
        add_up(plan, site, *plan.step(own, f"g_{site.weight.value.hint}"))


def add_up(plan: Writer, site: Site, value: Value) -> None:
    """Give a site's weight the sum of a value over the window's steps, in the place of reverse mode's gradient."""
    plan.detach(site)
    plan.contribute(site.weight, *plan.window(Total(value=value), value.hint))


def seen(plan: Writer, associations: Sequence[Association]) -> list[Association]:
    """Those of which the step shows something; the others are left to reverse mode."""
    return [a for a in associations if shown_by(plan, [a])]


def shown_by(plan: Writer, associations: Sequence[Association]) -> list[Observable]:
    """The observables that depend on what some associations are of."""
    groups, sites = {a.group for a in associations}, {a.site for a in associations}
    return [o for o in plan.exits.observables() if o.group in groups or not sites.isdisjoint(o.sites)]


def random_signals(plan: Writer, associations: Sequence[Association]) -> Signals:
    """`L = sum over outputs of (dl/dy) B`: `B`, `[outputs, positions]` over last axes, is drawn once and stays.

    Entries are normal, of variance one over the positions. Raises EtirError where the leading axes of an output are not
    those of the states.
    """
    outputs = [o for o in plan.transition.outputs if o.value.type.carries_credit]
    return {o: _fed_back(plan, o, outputs) for o in shown_by(plan, associations)}


def _fed_back(plan: Writer, shown: Observable, outputs: Sequence[Output]) -> Value:
    matrices = [_feedback(plan, shown, output) for output in outputs]

    def feed_back(*arrays: Any) -> Any:
        bars, fixed = arrays[: len(outputs)], arrays[len(outputs) :]
        terms = [jnp.atleast_1d(y) @ b for y, b in zip(bars, fixed, strict=True)]
        total: Any = sum(terms[1:], terms[0])
        return total.astype(shown.type.dtype)

    (signal,) = plan.apply(feed_back, *plan.loss_signal(), *matrices, name="feedback")
    return plan.counted(signal)


def _feedback(plan: Writer, shown: Observable, output: Output) -> Value:
    """The feedback matrix of one output to one observable: a trace that stays as it was drawn."""
    paths = " and ".join(f"'{state.path}'" for state in shown.group.states)
    of, on = output.value.type, shown.type
    if not on.shape or of.shape[:-1] != on.shape[:-1]:
        raise error(
            "feedback-shape",
            f"random feedback goes from the last axis of outputs to that of states: output '{output.path}' is {of}, "
            f"and what is shown of {paths} is {on}",
            loc=shown.group.loc,
            help="give both the same leading axes, or pass feedback='symmetric'",
        )
    kind = TensorType(on.dtype, (*(of.shape[-1:] or (1,)), on.shape[-1]))
    scale = 1 / math.sqrt(max(1, on.shape[-1]))

    def start(key: Any) -> Any:
        return scale * jax.random.normal(key, kind.shape, kind.dtype)

    matrix = plan.trace(kind, f"feedback of {output.path} to {paths}", "B", start=start, loc=shown.group.loc)
    plan.carry(matrix, matrix)
    return matrix
