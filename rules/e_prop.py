"""e_prop: eligibility traces of what a neuron shows, filtered as a readout does, read with a learning signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.diagnostics import error
from .base import Rule, Task
from .shared.exit_reading import check_feedback, learn_at_exit, random_signals, reached
from .shared.filtered import can_filter, read_filtered
from .writer import Writer


@dataclass(frozen=True)
class EProp(Rule):
    """e-prop: `sum_t <L_t, e~_t>` with `e~' = kappa e~ + e'` and `e' = dz'/dw` (Bellec et al. 2020).

    `z` is what the step shows of a neuron: its spikes, where those are what a readout or another layer reads, or its
    new state itself. Its eligibility (equations 13 and 14; 22 to 25 for LIF and ALIF neurons) is `e' = (dz'/dh') E'`
    with the vector `E' = D E + f (x) x`; `L` is the derivative of the step's loss by `z` (`symmetric`), or a fixed
    random matrix times that by the outputs (equation 4; the key of `learner.init` draws it).
    Memory: batch x weight for each state of the group, with `kappa` and one more for each `z`; the feedback matrices.
    Cost: one reverse sweep of the step, and one pass over the traces, at every step; without a `kappa` the pass comes
    once a window, where that is of four steps or more. Exact (`symmetric`, `kappa=0`) where the recurrence is
    element-wise and each state is read by outputs in its own step, as D-RTRL is; else what passes through mixing
    operations is dropped. With random feedback approximate always. With a `kappa` too, though the gradient is right
    where outputs are a leaky sum of `z`, `y' = kappa y + z W`, and recurrent spikes have no credit.
    """

    name: ClassVar[str] = "e_prop"
    per_step: ClassVar[bool] = True

    kappa: float = 0.0
    """The factor of the readout's own leak, from 0 to 1."""
    feedback: str = "symmetric"
    """`symmetric`, or `random`."""

    def write(self, plan: Writer, task: Task) -> None:
        """A trace for each association, filtered where there is a `kappa`, and read at each step's exit."""
        if not 0 <= self.kappa < 1:
            raise error("rule-option", f"e_prop has kappa={self.kappa}; wanted a factor from 0 up to, not including, 1")
        if not self.kappa:
            learn_at_exit(plan, task.associations, self.feedback)
            return
        check_feedback(plan, self.feedback)
        chosen = can_filter(plan, task.associations)
        if self.feedback == "symmetric":
            chosen = reached(plan, chosen)
        if chosen:
            signals = random_signals(plan, chosen) if self.feedback == "random" else plan.seen()
            read_filtered(plan, chosen, signals, self.kappa)
