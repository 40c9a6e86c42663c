"""The places of the last look-ups in a table, in the place of filtered one-hot data: one number a look-up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..operations.lookup import Lookup, counting
from ..types import TensorType
from ..values import Value
from .contract import Product
from .cost import Cost
from .faults import misshapen
from .operation import STEP, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Site, Transition

AT_ONCE = 16
"""Look-ups of a sample whose rows are added at once."""


def look_ups(decay: float, dtype: Any) -> int | None:
    """How many look-ups a filter that forgets by `decay` is made of; None where it never forgets.

    The weights of those before add up to less than half a unit in the last place of the newest one's, in this type.
    """
    if decay >= 1:
        return None
    least = float(jnp.finfo(dtype).eps) / 2 * (1 - decay)
    return 1 if decay <= least else math.ceil(math.log(least) / math.log(decay))


class Faded(NamedTuple):
    """The places of look-ups long ago, counted from zero, and how much each of them counts, `[time, *batch]`."""

    places: Any
    weights: Any

    @classmethod
    def of(cls, kept: Any, decay: float, dtype: Any) -> Faded:
        """From what a trace holds, newest last."""
        ages = np.arange(kept.shape[-1])[::-1]
        weights = jnp.where(kept > 0, jnp.asarray(np.power(decay, ages), dtype), 0)
        return cls(jnp.moveaxis(kept, -1, 0) - 1, jnp.moveaxis(weights, -1, 0))

    def added(self, total: Any, site: Site, cotangent: Any) -> Any:
        """A cotangent of the site's weight, with that of these look-ups, a few at a time; each had the `cotangent`."""
        labels = site.weight_labels
        lookup = Lookup(axis=labels.index((site.data_labels or "")[-1]), fills=True)
        struct = jax.ShapeDtypeStruct(total.shape, total.dtype)

        def add(total: Any, start: Any, count: int) -> Any:
            places, weights = (jax.lax.dynamic_slice_in_dim(x, start, count) for x in self)
            weights = weights.reshape(*weights.shape, *[1] * (cotangent.ndim + 1 - weights.ndim))
            return total + lookup.cotangent(places, (weights * cotangent).astype(total.dtype), struct)

        whole, rest = divmod(len(self.places), AT_ONCE)
        if whole:
            total = jax.lax.fori_loop(0, whole, lambda k, total: add(total, k * AT_ONCE, AT_ONCE), total)
        return add(total, whole * AT_ONCE, rest) if rest else total


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Latest(Operation):
    """The places of the last look-ups, counted from one, newest last; zero for none."""

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    trace: Value
    """`i32[*batch, look-ups]`."""
    index: Value
    """What is looked up at this step, `[*batch]`."""
    rows: int
    """Of the table."""
    fills: bool = False
    """Whether an index beyond the table is none of its rows; else it is the nearest one."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the trace."""
        del t
        return (self.trace.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The trace without its oldest places, and the newest one behind."""
        return (self.moved(scene[self.trace], scene[self.index][None]),)

    def moved(self, kept: Any, index: Any) -> Any:
        """What a trace holds after several steps, from their indices, `[time, *batch]`."""
        count = kept.shape[-1]
        index = counting(index[-count:])
        inside = (index >= 0) & (index < self.rows)
        places = jnp.where(inside, index, -1) if self.fills else jnp.clip(index, 0, self.rows - 1)
        new = jnp.moveaxis(places + 1, 0, -1).astype(kept.dtype)
        return jnp.concatenate([kept[..., new.shape[-1] :], new], -1)

    def faults(self, t: Transition) -> Iterator[str]:
        """Indices, and a trace that counts."""
        del t
        yield from misshapen("looked-up index", [self.index.type], self.trace.type.shape[:-1])
        for kind in (self.trace.type, self.index.type):
            if not jnp.issubdtype(kind.dtype, jnp.integer):
                yield f"counts places by {kind}; wanted integers"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LatestProduct(Product):
    """A table's cotangent, from the places of its last look-ups, `factor` to the power of their age, and a cotangent.

    That is the product with the filtered one-hot data `X' = a X + x`, which is never made.
    """

    factor: float

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """Each look-up's part, added where it points."""
        assert self.data is not None
        kind, cotangent = self.site.weight.value.type, scene[self.cotangent]
        nothing = jnp.zeros(kind.shape, kind.dtype)
        return (self.faded(scene[self.data], cotangent).added(nothing, self.site, cotangent),)

    def faded(self, kept: Any, like: Any) -> Faded:
        """The look-ups that a trace holds, with weights of the real type of an array, or a wider one."""
        return Faded.of(kept, self.factor, jnp.finfo(jnp.promote_types(like.dtype, jnp.float32)).dtype)

    def cost(self, window: int) -> Cost:
        """Two operations for each look-up and entry of the cotangent."""
        del window
        assert self.data is not None
        return Cost(flops=2.0 * self.data.type.shape[-1] * self.cotangent.type.size)

    def faults(self, t: Transition) -> Iterator[str]:
        """A site that looks rows up, the places of its last look-ups, and a cotangent of its output."""
        del t
        site = self.site
        if not looks_up(site) or self.without:
            yield "is of a site that looks no whole rows of a table up"
        elif self.data is None or not jnp.issubdtype(self.data.type.dtype, jnp.integer):
            yield f"counts places by {None if self.data is None else self.data.type}; wanted integers"
        elif site.data is not None:
            yield from misshapen("list of places", [self.data.type], (*site.data.type.shape[:-1], self._count))
        yield from misshapen("cotangent", [self.cotangent.type], site.output.type.shape)

    @property
    def _count(self) -> int:
        return self.data.type.shape[-1] if self.data is not None and self.data.type.shape else 0


def looks_up(site: Site) -> bool:
    """Whether a site's expression is that of rows of one table, picked by one-hot data whose last axis is the rows."""
    data, weight = site.data_labels or "", site.weight_labels
    rest = "".join(label for label in weight if label not in data[-1:])
    apart = bool(data) and data[-1] in weight and not set(data[:-1]).intersection(weight)
    return apart and site.expression.output == data[:-1] + rest
