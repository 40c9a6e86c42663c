"""rtrl: everything, exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ..ir.plan import AdvanceFull, ContractFull, Placement
from ..ir.plan.influence import influence_type
from ..ir.transition import Association, Param
from .base import Rule, Task
from .shared.along import trace_type
from .shared.neighbourhood import fed_states, neighbourhood_trace, reach_after
from .shared.positional import read_at_entry
from .writer import Followed, Writer


@dataclass(frozen=True)
class Rtrl(Rule):
    """Real-time recurrent learning (Williams and Zipser 1989, equation 2.8): every hidden state by every parameter.

    Where every use of a parameter is an ETP operation (`etir.compile` makes its plain products such), only the entries
    of its influence matrix that can ever be other than zero are carried, as `[slots, *output positions, *weight axes
    not in the output]` for each state: the slots are what the output's position reaches at any time, such as one
    sample of a batch, a block of a recurrence that is dense in blocks, all positions of a dense one. Else the whole
    matrix `[hidden sizes, parameter]` is advanced once a window by reverse mode under unit cotangents, `E' = w_bar +
    h_bar E`. Memory: at most states x parameter. Cost: one reverse sweep for each slot or state, and one pass over the
    traces. Exact always, but for credit through states that were declared not hidden.
    """

    name: ClassVar[str] = "rtrl"
    needs_sites: ClassVar[bool] = False
    marks_uses: ClassVar[bool] = True

    def write(self, plan: Writer, task: Task) -> None:
        """A sparse trace for each use of a parameter where they are all that is needed, else one influence matrix."""
        reaches = {a: Followed(fed_states(a), reach_after(a, None)) for a in plan.open_associations()}
        sparse = [param for param in task.reaching if self._is_sparse(plan, task, param, reaches)]
        for association, followed in reaches.items():
            if set(sparse).intersection(association.site.weight.params):
                read_at_entry(plan, neighbourhood_trace(plan, association, followed.reach), sparse)
        self.write_whole(plan, task, [param for param in task.reaching if param not in sparse])

    def _is_sparse(self, plan: Writer, task: Task, param: Param, reaches: dict[Association, Followed]) -> bool:
        """Whether a parameter's sparse traces are exact, no larger than its influence matrix, and this rule's alone.

        A weight that feeds several positions from each of its elements would have a sensitivity as large as a trace.
        """
        own = {a: followed for a, followed in reaches.items() if param in a.site.weight.params}
        foreign = any(other not in task.params and other.learns for a in own for other in a.site.weight.params)
        spread = any(a.site.data is None and Placement(a, a.union).slots > 1 for a in own)
        if not own or foreign or spread:
            return False
        size = sum(len(followed.states) * trace_type(a, followed.reach).bytes for a, followed in own.items())
        return size <= influence_type(task.transition, param).bytes and plan.is_followed(param, own)

    def write_whole(self, plan: Writer, task: Task, params: Sequence[Param]) -> None:
        """An influence matrix for each of some parameters, whatever structure it has."""
        for param in params:
            label = f"{param.path} on every hidden state"
            before = plan.trace(influence_type(task.transition, param), label, f"e_{param.value.hint}", loc=param.loc)
            (after,) = plan.window(AdvanceFull(param=param, trace=before, loc=param.loc), f"e_{param.value.hint}_next")
            plan.carry(before, after)
            read = ContractFull(param=param, trace=before, cotangents=tuple(plan.cotangents), loc=param.loc)
            plan.contribute(param, *plan.window(read, f"g_{param.value.hint}"))
