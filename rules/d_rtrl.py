"""d_rtrl: one trace a weight, advanced by the position-wise part of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, Task
from .shared.course import followed_traces
from .shared.positional import read_at_entry
from .writer import Writer


@dataclass(frozen=True)
class DRtrl(Rule):
    """Diagonal real-time recurrent learning: `E' = D E + f (x) x`, read as `<h_bar, E>` (Wang et al. 2024, D-RTRL).

    `D = dh'/dh` and `f = dh'/dy` are taken while mixing operations are held; a trace is laid out as `Placement` says.
    Memory: batch x weight for each state of the group, without the axes along which neither `D` nor `f` changes: batch
    x data for a layer with one leak. Cost: one pass over the traces a fold. Exact where the recurrence is element-wise
    (Zucchet et al. 2023, equation 4; Irie et al. 2023, equations 12 to 15); else what passes through mixing operations
    is dropped.
    """

    name: ClassVar[str] = "d_rtrl"
    per_step: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def write(self, plan: Writer, task: Task) -> None:
        """For each use of a weight its traces along its course, or else one where it is fed; and a contraction each."""
        for trace, takers in followed_traces(plan, task):
            read_at_entry(plan, trace, takers)
