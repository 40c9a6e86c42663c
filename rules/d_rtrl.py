"""d_rtrl: one trace a weight, advanced by the position-wise part of the Jacobian."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, Task
from .shared.course import affordable_course, courses_with_nothing_held, traces_along
from .shared.positional import positional_trace, read_at_entry
from .writer import Writer


@dataclass(frozen=True)
class DRtrl(Rule):
    """Diagonal real-time recurrent learning: `E' = D E + f (x) x`, read as `<h_bar, E>` (Wang et al. 2024, D-RTRL).

    `D = dh'/dh` and `f = dh'/dy` are taken while mixing operations are held; a trace is laid out as `[slots, *output
    positions, *weight axes not in the output]`. Memory: batch x weight for each state of the group. Cost: one pass
    over the traces a fold. Exact where the recurrence is element-wise (Zucchet et al. 2023, equation 4; Irie et al.
    2023, equations 12 to 15); else what passes through mixing operations is dropped.
    """

    name: ClassVar[str] = "d_rtrl"
    per_step: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    def write(self, plan: Writer, task: Task) -> None:
        """For each use of a weight its traces along its course, or else one where it is fed; and a contraction each."""
        opened = courses_with_nothing_held(plan, task)
        for param, courses in opened.items():
            for course in courses:
                for trace in traces_along(plan, course):
                    read_at_entry(plan, trace, [param])
        held = [a for a in task.associations if not set(opened).intersection(a.site.weight.params)]
        for site in dict.fromkeys(a.site for a in held):
            uses = [a for a in task.transition.associations if a.site is site and (a.traced or a.indirect)]
            course = affordable_course(task.transition, uses)
            for trace in traces_along(plan, course):
                read_at_entry(plan, trace)
            for association in uses:
                if association.traced and association not in course:
                    read_at_entry(plan, positional_trace(plan, association))
