"""snap: the influence matrix where it is not zero after n steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.diagnostics import error
from ..ir.transition import Transition
from .base import Rule, Task
from .shared.neighbourhood import neighbourhood_trace, reach_after
from .shared.positional import read_at_entry
from .writer import Writer


@dataclass(frozen=True)
class SnAp(Rule):
    """The sparse n-step approximation of RTRL, SnAp-n: `E' = D E + f (x) x` on the entries that n steps fill.

    Menick et al. 2021, "Practical real time recurrent learning with a sparse approximation", section 3. A trace is
    `[slots, *output positions, *weight axes not in the output]`: a slot is a state position that the output reaches
    within `n` steps of the group's own recurrence, the first of which is what it feeds directly. Memory: slots x weight
    for each state of the group. Cost: slots x trace a step. Exact where the slots are closed under the recurrence, as
    they are by default; the error falls as `n` grows.
    """

    name: ClassVar[str] = "snap"

    n: int | str | None = None
    """Steps after which an entry that is still zero is left out; None or "closed" for none that ever fills."""

    @property
    def steps(self) -> int | None:
        """The number of steps; None for any number. Raises EtirError where `n` is neither."""
        if self.n is None or self.n == "closed":
            return None
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise error("rule-option", f"snap has n={self.n!r}; wanted a number of steps of at least 1, or 'closed'")
        return self.n

    def suits(self, transition: Transition) -> bool:
        """Where some position feeds few others: else its slots are those of D-RTRL, or of RTRL."""
        return any(d.coupling.has_off_diagonal for group in transition.groups for d in group.jacobian)

    def write(self, plan: Writer, task: Task) -> None:
        """One trace, one advance, one contraction for each association."""
        steps = self.steps
        del task
        for association in plan.open_associations():
            read_at_entry(plan, neighbourhood_trace(plan, association, reach_after(association, steps)))
