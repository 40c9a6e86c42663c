"""e_prop: eligibility traces, read at each step with a learning signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, Task
from .exit import reached, read_at_exit
from .writer import Writer


@dataclass(frozen=True)
class EProp(Rule):
    """E."""

    name: ClassVar[str] = "e_prop"
    per_step: ClassVar[bool] = True

    kappa: float = 0.0
    feedback: str = "symmetric"

    def write(self, plan: Writer, task: Task) -> None:
        """One."""
        associations = reached(plan, task.associations)
        if associations:
            read_at_exit(plan, associations, plan.exit_credit())
