"""What is no linear recurrence: a rule author's own function of plan values, run at each step or at a window's end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import not_differentiable, region_missing, type_list
from .operation import Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Apply(Operation):
    """The results of a region of its own on some values. Never fused, never differentiated; always what it says."""

    region: str
    values: tuple[Value, ...]
    estimates: str = ""
    """Of which rule's gradient what it computes is an unbiased estimate; nothing where it is none."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the region's results."""
        return tuple(value.type for value in t.region(self.region).outputs)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The region's body on the values."""
        values = jax.lax.stop_gradient(scene.read(self.values))
        kinds = [value.type.dtype for value in self.values]
        wide = [x if str(x.dtype) == dtype else x.astype(dtype) for x, dtype in zip(values, kinds, strict=True)]
        return tuple(jx.evaluate(scene.transition.region(self.region).body, wide))

    def cost(self, window: int) -> Cost:
        """One operation an element of its results, and the values read and written once."""
        del window
        read, written = (float(sum(v.type.bytes for v in values)) for values in (self.values, self.results))
        return Cost(flops=float(sum(v.type.size for v in self.results)), read=read, written=written)

    def faults(self, t: Transition) -> Iterator[str]:
        """The region is there, and takes values of these types."""
        yield from region_missing(t, self.region)
        for region in t.regions:
            wanted, found = [v.type for v in region.inputs], [v.type for v in self.values]
            if region.name == self.region and found != wanted:
                yield f"gives region @{self.region} {type_list(found)}; wanted {type_list(wanted)}"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scale(Operation):
    """A value times a number."""

    value: Value
    factor: float

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the value."""
        del t
        return (self.value.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The product, in the value's element type."""
        value = scene[self.value]
        return (value * jax.numpy.asarray(self.factor, value.dtype),)

    def faults(self, t: Transition) -> Iterator[str]:
        """The value holds numbers that the factor can scale."""
        del t
        yield from not_differentiable("scales", [self.value.type])
