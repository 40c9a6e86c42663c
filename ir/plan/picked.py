"""Products with data that a fixed index picks, where a filter of them is held of what they are picked of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import jaxpr as jx
from .contract import Product, product
from .faults import misshapen, region_missing
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PickedProduct(Product):
    """A site's weight cotangent, from filtered data `X' = a X + x` and a cotangent of its output, `X` not picked yet.

    To filter and to pick are one, whichever is first; what is picked of may be a fraction of what is picked, as the
    neurons of a graph are of its edges.
    """

    region: str
    """What picks the site's data."""
    labels: str
    """Of the axes of what is picked of, as the site's data have them; for that picked along one that these lack."""

    @property
    def data_labels(self) -> str:
        """Those of what is picked of."""
        return self.labels

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The product with what is picked."""
        assert self.data is not None
        (data,) = jx.evaluate(scene.transition.region(self.region).body, [scene[self.data]])
        return (product(self.site, data, scene[self.cotangent]),)

    def faults(self, t: Transition) -> Iterator[str]:
        """A region that makes the site's data of what is picked of, and a cotangent of the site's output."""
        yield from region_missing(t, self.region, "picks by")
        wanted = [v.type.shape for v in (self.data, self.site.data) if v is not None]
        for region in t.regions:
            found = [v.type.shape for v in (*region.inputs, *region.outputs)]
            if region.name == self.region and found != wanted:
                yield f"picks by region @{self.region} of shapes {found}; wanted {wanted}"
        if self.data is not None and len(self.labels) != len(self.data.type.shape):
            yield f"has labels '{self.labels}' for data of {self.data.type}"
        yield from misshapen("cotangent", [self.cotangent.type], self.site.output.type.shape)
