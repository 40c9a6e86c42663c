"""What a trace of hidden states becomes in a value that is a function of them position by position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from ..types import TensorType
from ..values import Value
from .faults import kinds_of, misshapen, not_as_many, too_narrow
from .placement import Placement, align, placement_faults
from .scene import Scene
from .transfer import Drive, data_faults

if TYPE_CHECKING:
    from ..transition import Association


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Passed(Drive):
    """`dz/dw = (dz/dh) E + (dz/dy) (x) x`: what the derivative of the states makes of a value that the step shows."""

    association: Association
    trace: tuple[Value, ...]
    """`E`, one array for each state that it follows."""
    factors: tuple[Value, ...]
    """`dz/dh` at the group's positions, one for each of these arrays."""
    own: tuple[Value, ...]
    """`dz/dy` at the output's; two, the real and the imaginary part, where `y` is real and `z` complex; none for zero.
    """
    data: Value | None
    """`x`; None for an operation without data."""

    @property
    def placement(self) -> Placement:
        """At the positions that the site feeds."""
        return Placement(self.association)

    def terms(self, scene: Scene) -> list[Any]:
        """`dz/dw`, for a trace of one array."""
        place = self.placement
        found: list[Any] = [
            align(place.gather(scene[d]), place.output, place.trace) * scene[e]
            for d, e in zip(self.factors, self.trace, strict=True)
        ]
        if self.own:
            real, *imaginary = scene.read(self.own)
            f = jax.lax.complex(real, imaginary[0]) if imaginary else real
            found.append(place.outer(f, None if self.data is None else scene[self.data]))
        return [sum(found[1:], found[0]) if found else None]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """One array, laid out at the output's positions; a factor for each array that is passed on."""
        yield from not_as_many(trace, "array", (self,), "value that is shown")
        yield from not_as_many(self.factors, "factor", self.trace, "array that is passed on")
        yield from data_faults(self.association.site, self.data)
        unplaced = list(placement_faults(self.association))
        yield from unplaced
        if not unplaced:
            yield from misshapen("trace", [*trace, *kinds_of(self.trace)], self.placement.shape)
            yield from misshapen("factor", kinds_of(self.factors), self.association.group.shape)
            yield from misshapen("factor to add", kinds_of(self.own), self.placement.output_shape)
        for kind in trace:
            yield from too_narrow(kind, kinds_of([*self.trace, *self.factors, *self.own]))
