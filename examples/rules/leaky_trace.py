"""A trace that forgets at a fixed rate: D-RTRL with one leak in the place of the step's own Jacobian.

The eligibility trace of the earliest three-factor models (Barto, Sutton and Anderson 1983): `E' = leak E + f (x) x`,
read as `<h_bar, E>`. Right where every state decays by this very factor, and cheap to reason about elsewhere.
"""

from dataclasses import dataclass
from typing import ClassVar

import etir
from etir.ir.plan import Advance, Contract, Outer, Placement, Scalar, trace_dtype
from etir.ir.types import TensorType
from etir.rules import Task, Writer


@dataclass(frozen=True)
class LeakyTrace(etir.Rule):
    """`E' = leak E + f (x) x` for every use of a weight that reaches a hidden group position by position."""

    name: ClassVar[str] = "leaky_trace"

    leak: float = 0.9

    def write(self, plan: Writer, task: Task) -> None:
        """One trace for each state that a use feeds, and one contraction."""
        for use in task.associations:
            factors, entering = plan.sensitivity(use), plan.entering(use.group)
            kind = TensorType(trace_dtype(use), Placement(use).shape)
            label = "+".join(use.site.weight.paths)
            before = tuple(plan.trace(kind, f"{label} on {use.group.states[k].path}", "e") for k in factors)
            add = Outer(association=use, factors=tuple(factors.values()), data=use.site.data)
            after = plan.step(Advance(trace=before, by=Scalar(factor=self.leak), add=add), *["e_next"] * len(before))
            for old, new in zip(before, after, strict=True):
                plan.carry(old, new)
            read = Contract(association=use, trace=before, cotangents=tuple(entering[k] for k in factors))
            plan.contribute(use.site.weight, *plan.window(read, "g"))
