"""`E' = A E + b`: the one linear recurrence that nearly every rule carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..types import TensorType
from ..values import Value
from .cost import Cost
from .inflow import Inflow
from .operation import STEP, Operation
from .scene import Scene
from .transfer import Drive, Transfer, plus, total

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Advance(Operation):
    """`E' = A E + b` of a trace, which is one array for each state of a group that it follows."""

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    trace: tuple[Value, ...]
    by: Transfer
    add: Drive
    inflow: tuple[Inflow, ...] = ()
    """What traces on the states of other groups add."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the trace."""
        del t
        return tuple(value.type for value in self.trace)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """`A E + b`."""
        trace = scene.read(self.trace)
        added = self.add.terms(scene)
        for inflow in self.inflow:
            added = [*map(plus, added, [*inflow.terms(scene), *[None] * len(added)])]
        return tuple(total(self.by.apply(scene, trace), added, trace))

    def cost(self, window: int) -> Cost:
        """The factors are made at every step; the trace is read and written once a window, whatever the order."""
        size, moved = sum(v.type.size for v in self.trace), sum(v.type.bytes for v in self.trace)
        return Cost(flops=2.0 * size * self.by.terms) + Cost(flops=1.0 * size, read=moved, written=moved).over(window)

    def faults(self, t: Transition) -> Iterator[str]:
        """What its transfer and its drive say of the trace."""
        del t
        kinds = [value.type for value in self.trace]
        drives = (self.add, *self.inflow)
        found = dict.fromkeys([*self.by.faults(kinds), *(fault for drive in drives for fault in drive.faults(kinds))])
        yield from found
        carried, added = self.by.placement, [p for drive in drives if (p := drive.placement) is not None]
        for other in added if carried and not found else ():
            if carried is not None and carried.followed != other.followed:
                yield f"is carried on positions {carried.followed}, but added to on positions {other.followed}"
            elif carried is not None and carried.alike != other.alike:
                yield f"is carried alike along '{carried.alike}', but added to alike along '{other.alike}'"
