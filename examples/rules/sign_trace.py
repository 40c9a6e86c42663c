"""A trace read by its sign alone: what a synapse could hold in one bit and a shared scale.

The trace itself is D-RTRL's. When it is read, each array is replaced by its sign times the mean of its sizes, as sign
compression of gradients does (Bernstein et al. 2018, signSGD). No linear recurrence, hence an `apply` operation.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

import etir
from etir.ir.plan import Contract
from etir.rules import Task, Writer, positional_trace


def quantised(trace):
    """The sign of each entry, times the mean size of all."""
    return (jnp.sign(trace) * jnp.mean(jnp.abs(trace))).astype(trace.dtype)


@dataclass(frozen=True)
class SignTrace(etir.Rule):
    """`<h_bar, sign(E) mean|E|>`, with `E` the trace of D-RTRL."""

    name: ClassVar[str] = "sign_trace"

    def write(self, plan: Writer, task: Task) -> None:
        """The trace, its quantised form at the window's end, and one contraction of that."""
        for use in task.associations:
            trace, entering = positional_trace(plan, use), plan.entering(use.group)
            read = [plan.apply(quantised, e, name="quantised", at_window=True)[0] for e in trace.before]
            cotangents = tuple(entering[k] for k in trace.states)
            found = plan.window(Contract(association=use, trace=tuple(read), cotangents=cotangents), "g")
            plan.contribute(use.site.weight, *found)
