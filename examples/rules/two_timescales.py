"""A fast and a slow eligibility, mixed by a signal that each step of the learner is given.

D-RTRL's trace is carried as it is, and once more with a decay of its own; `attention=...`, an array with a number for
each step, says how much of each step joins the slow one: an ablation of how far back credit should reach.
"""

from dataclasses import dataclass
from typing import ClassVar

import etir
from etir.ir.plan import Advance, Contract, Plain, Scalar
from etir.ir.types import TensorType
from etir.rules import Task, Writer, positional_trace


@dataclass(frozen=True)
class TwoTimescales(etir.Rule):
    """`S' = decay S + attention E'`, read as `<h_bar, E + S>`, with `E` the trace of D-RTRL."""

    name: ClassVar[str] = "two_timescales"

    decay: float = 0.5

    def write(self, plan: Writer, task: Task) -> None:
        """Both traces, and one contraction of their sum."""
        attention = plan.signal("attention", TensorType("float32"))
        for use in task.associations:
            fast, entering = positional_trace(plan, use), plan.entering(use.group)
            mixed = []
            for before, after in zip(fast.before, fast.after, strict=True):
                (added,) = plan.apply(lambda a, e: (a * e).astype(e.dtype), attention, after, name="attended")
                slow = plan.trace(before.type, "slow eligibility", "s")
                advance = Advance(trace=(slow,), by=Scalar(factor=self.decay), add=Plain(values=(added,)))
                plan.carry(slow, *plan.step(advance, "s_next"))
                mixed += plan.apply(lambda e, s: e + s, before, slow, name="mixed", at_window=True)
            cotangents = tuple(entering[k] for k in fast.states)
            found = plan.window(Contract(association=use, trace=tuple(mixed), cotangents=cotangents), "g")
            plan.contribute(use.site.weight, *found)
