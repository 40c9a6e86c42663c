"""Credit taken back through one use of a weight, from its output to its data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import misshapen
from .operation import Operation
from .placement import as_type_of
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Site, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SendBack(Operation):
    """The cotangent of a site's data, from one of its output and the weight as it is then."""

    site: Site
    weight: Value
    cotangent: Value

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the data."""
        del t
        assert self.site.data is not None
        return (self.site.data.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The operation's own pull-back to the data."""
        site, data = self.site, self.site.data
        assert data is not None
        spec = f"{site.expression.output},{site.weight_labels}->{site.data_labels}"
        return (as_type_of(jnp.einsum(spec, scene[self.cotangent], scene[self.weight]), data.type.dtype),)

    def cost(self, window: int) -> Cost:
        """Two operations for each pair of an entry of the data and one of the output that it feeds."""
        del window
        labels = dict(zip(self.site.weight_labels, self.site.weight.value.type.shape, strict=True))
        own = self.site.data_labels or ""
        fed = [size for label, size in labels.items() if label not in own]
        return Cost(flops=2.0 * self.results[0].type.size * math.prod(fed))

    def faults(self, t: Transition) -> Iterator[str]:
        """A site with data, its weight, and a cotangent of its output."""
        del t
        if self.site.data is None:
            yield "goes back through a site without data"
        if self.weight.type != self.site.weight.value.type:
            yield f"goes back through {self.weight.type}; wanted {self.site.weight.value.type}, the site's weight"
        yield from misshapen("cotangent", [self.cotangent.type], self.site.output.type.shape)
