"""rflo: local traces, read with the output error through fixed random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, Task
from .shared.exit_reading import learn_at_exit
from .writer import Writer


@dataclass(frozen=True)
class Rflo(Rule):
    """Random-feedback local online learning (Murray 2019): `sum_t <B e_t, p_t>`, `p' = (1 - 1/tau) p + phi'(u)/tau x`.

    `p` is the trace `E' = D E + f (x) x`, whose `D` is the leak `1 - 1/tau` and whose `f` is `phi'(u) / tau` where the
    model is the paper's; `e = dl/dy`; `B`, a fixed random matrix, stands in the place of the readout's weights. Where
    outputs read a function of the state, such as its spikes, position by position, its derivative is part of the trace.
    Memory: batch x weight for each state of the group, and the feedback matrices, which the key of `learner.init`
    draws. Cost: one pass over the traces at every step, or at the end of each window of four steps or more. Approximate
    always with `feedback="random"`; with `"symmetric"` exact where D-RTRL's per-step form is.
    """

    name: ClassVar[str] = "rflo"
    per_step: ClassVar[bool] = True

    feedback: str = "random"
    """`random`, or `symmetric`: the readout's own weights."""

    def write(self, plan: Writer, task: Task) -> None:
        """A trace for each association, read at each step's exit."""
        learn_at_exit(plan, task.associations, self.feedback)
