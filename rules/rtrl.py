"""rtrl: everything, exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.plan import AdvanceFull, ContractFull
from ..ir.plan.influence import influence_type
from .base import Rule, Task
from .writer import Writer


@dataclass(frozen=True)
class Rtrl(Rule):
    """Real-time recurrent learning (Williams and Zipser 1989, equation 2.8): every hidden state by every parameter.

    The influence matrix `[hidden sizes, parameter]` is advanced once a window by the window's reverse mode under unit
    cotangents, `E' = w_bar + h_bar E`. Memory: states x parameter. Cost: one reverse sweep a state coordinate each
    window, so its part of a step falls as one over the window. Exact always, but for credit through states that were
    declared not hidden.
    """

    name: ClassVar[str] = "rtrl"
    needs_sites: ClassVar[bool] = False

    def write(self, plan: Writer, task: Task) -> None:
        """One influence matrix for each parameter that reaches a hidden state."""
        for param in task.reaching:
            label = f"{param.path} on every hidden state"
            before = plan.trace(influence_type(task.transition, param), label, f"e_{param.value.hint}", loc=param.loc)
            (after,) = plan.window(AdvanceFull(param=param, trace=before, loc=param.loc), f"e_{param.value.hint}_next")
            plan.carry(before, after)
            read = ContractFull(param=param, trace=before, cotangents=tuple(plan.cotangents), loc=param.loc)
            plan.contribute(param, *plan.window(read, f"g_{param.value.hint}"))
