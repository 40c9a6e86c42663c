"""How traces are read: contracted with cotangents, into contributions to weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ...coupling import Coupling
from ..product import product_of, summed_product
from ..types import TensorType
from ..values import Value
from .cost import Cost
from .faults import kinds_of, misshapen, not_as_many
from .operation import Operation
from .placement import Placement, align, as_type_of, placement_faults
from .scene import Scene
from .transfer import data_faults

if TYPE_CHECKING:
    from ..transition import Association, Site, Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contract(Operation):
    """`<c, E>`: the cotangent of an association's weight, from a trace and a cotangent of each state it follows."""

    association: Association
    trace: tuple[Value, ...]
    cotangents: tuple[Value, ...]
    """At the group's positions, one for each array of the trace."""
    reach: Coupling | None = None
    alike: str = ""
    """Labels of the weight's axes that the trace has not, since it is the same along them."""

    @property
    def placement(self) -> Placement:
        """Where the trace lies."""
        return Placement(self.association, self.reach, self.alike)

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the weight."""
        del t
        return (self.association.site.weight.value.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The sum over states, slots and the output's own axes."""
        place = self.placement
        return (contraction(place, scene.read(self.trace), [place.gather(c) for c in scene.read(self.cotangents)]),)

    def cost(self, window: int) -> Cost:
        """Two operations an entry."""
        del window
        return Cost(flops=2.0 * sum(value.type.size for value in self.trace))

    def faults(self, t: Transition) -> Iterator[str]:
        """As many cotangents as arrays, at the group's positions; the trace is laid out on the reach."""
        del t
        yield from not_as_many(self.cotangents, "cotangent", self.trace, "array")
        unplaced = list(placement_faults(self.association, self.reach, self.alike))
        yield from unplaced
        if not unplaced:
            yield from misshapen("trace", kinds_of(self.trace), self.placement.shape)
            yield from misshapen("cotangent", kinds_of(self.cotangents), self.association.group.shape)


def contraction(place: Placement, trace: list[Any], gathered: list[Any], without: str = "") -> Any:
    """`<c, E>` of cotangents at slots and output that lack the axis `without`, as the weight's type."""
    output, labels = place.output.replace(without, ""), place.trace.replace(without, "")
    kept = "".join(label for label in output if label not in place.summed)
    spec = f"{kept},{labels}->{place.weight}"
    if place.slot_at and not place.alike:
        axes = tuple(k for k, label in enumerate(labels) if label not in place.weight)
        gathered = jax.lax.optimization_barrier(gathered)  # else each entry of the trace computes its own
        terms = [summed_product(align(c, output, labels), e, axes) for c, e in zip(gathered, trace, strict=True)]
    else:
        terms = [product_of(spec, align(c, output, kept), e) for c, e in zip(gathered, trace, strict=True)]
    total: Any = sum(terms[1:], terms[0])
    return as_type_of(total, place.association.site.weight.value.type.dtype)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Project(Operation):
    """`<c, F>`: the cotangent of a site's output, from factors at its positions and a cotangent of each state."""

    association: Association
    factors: tuple[Value | None, ...]
    """At slots and output, as the placement has them, for each state; None for zero."""
    cotangents: tuple[Value, ...]
    """At the group's positions, one for each factor."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the site's output."""
        del t
        return (self.association.site.output.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The sum over states and slots."""
        place = Placement(self.association)
        pairs = zip(self.factors, self.cotangents, strict=True)
        terms = [place.summed_slots(place.gather(scene[c]), scene[f]) for f, c in pairs if f is not None]
        kind = self.association.site.output.type
        if not terms:
            return (jnp.zeros(kind.shape, kind.dtype),)
        total: Any = sum(terms[1:], terms[0])
        return (as_type_of(total, kind.dtype),)

    def faults(self, t: Transition) -> Iterator[str]:
        """As many cotangents as factors, these at the output's positions and those at the group's."""
        del t
        yield from not_as_many(self.cotangents, "cotangent", self.factors, "factor")
        unplaced = list(placement_faults(self.association))
        yield from unplaced
        if not unplaced:
            yield from misshapen("factor", kinds_of(self.factors), Placement(self.association).output_shape)
            yield from misshapen("cotangent", kinds_of(self.cotangents), self.association.group.shape)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Product(Operation):
    """A site's weight cotangent `<y_bar, dy/dw>`, from data and a cotangent of its output."""

    site: Site
    data: Value | None
    """What stands in the data's place, such as a filtered trace of it."""
    cotangent: Value
    without: str = ""
    """Labels of axes that both lack, because they were summed over before."""

    @property
    def data_labels(self) -> str:
        """The labels of what stands in the data's place."""
        return "".join(label for label in self.site.data_labels or "" if label not in self.without)

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the weight."""
        del t
        return (self.site.weight.value.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The operation's own pull-back to the weight."""
        data = None if self.data is None else scene[self.data]
        return (product(self.site, data, scene[self.cotangent], without=self.without),)

    def faults(self, t: Transition) -> Iterator[str]:
        """Data as the site has them, and a cotangent of its output."""
        del t
        site = self.site
        if not self.without:
            yield from data_faults(site, self.data)
        elif self.data is not None and site.data is not None:
            left = _left(site.data_labels or "", site.data.type.shape, self.without)
            yield from misshapen("data", [self.data.type], left)
        left = _left(site.expression.output, site.output.type.shape, self.without)
        yield from misshapen("cotangent", [self.cotangent.type], left)


def _left(labels: str, shape: tuple[int, ...], without: str) -> tuple[int, ...]:
    return tuple(size for label, size in zip(labels, shape, strict=True) if label not in without)


def product(site: Site, data: Any, cotangent: Any, lead: str = "", without: str = "") -> Any:
    """A site's weight cotangent, summed over leading axes `lead` (labels that the expression lacks) of both."""
    spec = f"{lead}{site.expression.output}->{site.weight_labels}"
    operands = [cotangent]
    if data is not None:
        spec, operands = f"{lead}{site.data_labels},{spec}", [data, cotangent]
    kept = "".join(label for label in spec if label not in without)
    found = product_of(kept, *operands) if len(operands) == 2 else jnp.einsum(kept, *operands)
    return as_type_of(found, site.weight.value.type.dtype)
