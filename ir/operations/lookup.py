"""Look-ups by index: rows of a table, which are a product with one-hot data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import GatherDimensionNumbers, GatherScatterMode

from .. import jaxpr as jx
from ..diagnostics import error
from ..expression import LABELS, Expression
from ..loc import calling_line
from .base import Rows, Struct, WeightOperation
from .call import call_operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup(WeightOperation):
    """`w[..., x, ...]` along one axis of `w`: `[*x, *the other axes of w]`."""

    name: str = "embed"
    axis: int = 0
    fills: bool = False
    """Whether an index beyond the table gives NaN, and no gradient; else it is the nearest one that is not."""

    def apply(self, x: Any, w: Any) -> Any:
        """The rows. Indices are wide enough to count the table's: JAX's own derivative clips them as what they are."""
        x = counting(x)
        rest = tuple(range(x.ndim, x.ndim + w.ndim - 1))
        return jax.lax.gather(
            w,
            x[..., None],
            GatherDimensionNumbers(offset_dims=rest, collapsed_slice_dims=(self.axis,), start_index_map=(self.axis,)),
            slice_sizes=tuple(1 if axis == self.axis else size for axis, size in enumerate(w.shape)),
            mode=GatherScatterMode.FILL_OR_DROP if self.fills else GatherScatterMode.CLIP,
        )

    def unfold(self, x: Any, w: Struct) -> Any:
        """One-hot vectors; zeros for an index beyond the table that gives NaN."""
        size = w.shape[self.axis]
        x = counting(x)
        x = x if self.fills else jnp.clip(x, 0, size - 1)
        return (x[..., None] == jnp.arange(size, dtype=x.dtype)).astype(w.dtype)

    def rows(self, w: Struct) -> Rows:
        """As many as the table has."""
        return Rows(w.shape[self.axis], self.fills)

    def summed(self, factors: Any, x: Any, w: Struct) -> Any:
        """Each factor added where its index points."""
        size = w.shape[self.axis]
        x = counting(x)
        x = jnp.where(x < 0, size, x) if self.fills else jnp.clip(x, 0, size - 1)
        rows = jnp.reshape(x, (len(x), -1))
        found = jnp.zeros((rows.shape[1], size), w.dtype)
        found = found.at[jnp.arange(rows.shape[1]), rows].add(factors.astype(w.dtype)[:, None], mode="drop")
        return jnp.reshape(found, (*x.shape[1:], size))

    def expression(self, x: Struct, w: Struct) -> Expression:
        """`"xv,v...->x..."`."""
        of_index, of_table = LABELS[: len(x.shape)], LABELS[len(x.shape) : len(x.shape) + len(w.shape)]
        rest = "".join(label for axis, label in enumerate(of_table) if axis != self.axis)
        return Expression(operands=(of_index + of_table[self.axis], of_table), output=of_index + rest)


def counting(ids: Any) -> Any:
    """Indices of a signed type, wide enough to count a table's rows; those beyond it stay beyond any table."""
    if not jnp.issubdtype(ids.dtype, jnp.unsignedinteger) or ids.dtype.itemsize < 4:
        return ids.astype(jnp.promote_types(ids.dtype, jnp.int32))
    widest = jnp.asarray(0).dtype  # of Python's integers
    most = min(jnp.iinfo(widest).max, jnp.iinfo(ids.dtype).max)
    return jnp.minimum(ids, jnp.asarray(most, ids.dtype)).astype(widest)


def from_the_end(ids: Any, rows: int) -> Any:
    """Indices, of which negative ones counted from the end."""
    ids = counting(ids)
    return jnp.where(ids < 0, ids + rows, ids)


class Looked(NamedTuple):
    """An equation that looks rows of its first operand up."""

    axis: int
    fills: bool
    ids: Callable[[list[Any]], Any]
    """The index, `[*batch]`, from the equation's operands."""
    arrange: Callable[[Any], Any]
    """From the rows, `[*batch, *rest]`, to the equation's result."""
    fill: float | None = None
    """What an index beyond the table gives in the place of NaN."""
    promised: bool = False
    """Whether what it gives has no gradient, though it is the nearest row: so it is where JAX was promised none."""

    def by(self, call: Callable[[WeightOperation, Any, Any], Any], operands: list[Any], name: str = "gather") -> Any:
        """The equation's result by way of the operation."""
        operation = Lookup(name=name, axis=self.axis, fills=self.fills)
        ids, table = self.ids(operands), operands[0]
        rows = call(operation, ids, table)
        if self.promised or (self.fills and self.fill is not None):
            outside = ((ids < 0) | (ids >= table.shape[self.axis])).reshape(*ids.shape, *[1] * (table.ndim - 1))
            given = jax.lax.stop_gradient(rows) if self.promised else jnp.asarray(self.fill, rows.dtype)
            rows = jnp.where(outside, given, rows)
        return self.arrange(rows)


def looked_up(eqn: Any) -> Looked | None:
    """How an equation looks single rows up along one axis of its first operand, the others whole; None if it does not.

    That is what `table[ids]` and `jnp.take` become, `gather` or, for one index, `dynamic_slice`.
    """
    if eqn.primitive.name not in ("gather", "dynamic_slice"):
        return None
    shape, sizes = jx.shape_of(eqn.invars[0]), eqn.params["slice_sizes"]
    cut = [axis for axis, (whole, size) in enumerate(zip(shape, sizes, strict=True)) if size != whole]
    if eqn.primitive.name == "dynamic_slice":
        one = len(cut) == 1 and sizes[cut[0]] == 1
        axis = cut[0] if one else 0
        return Looked(axis, False, lambda o: o[1 + axis], lambda y: jnp.expand_dims(y, axis)) if one else None
    numbers, mode = eqn.params["dimension_numbers"], eqn.params["mode"]
    places = [axis for axis in numbers.start_index_map if axis in cut or shape[axis] == 1]
    fills, promised = (mode == of for of in (GatherScatterMode.FILL_OR_DROP, GatherScatterMode.PROMISE_IN_BOUNDS))
    if len(places) != 1 or cut not in ([], places) or numbers.operand_batching_dims or sizes[places[0]] != 1:
        return None
    axis, gone = places[0], numbers.collapsed_slice_dims
    if any(other != axis for other in gone) or (fills and len(numbers.start_index_map) > 1):
        return None
    batch, offset = len(jx.shape_of(eqn.invars[1])) - 1, numbers.offset_dims
    rest = iter(range(batch, batch + len(offset)))
    first = iter(range(batch))
    order = [next(rest) if k in offset else next(first) for k in range(batch + len(offset))]

    def arrange(y: Any) -> Any:
        y = y if gone else jnp.expand_dims(y, batch + axis)
        return y if order == sorted(order) else jnp.transpose(y, order)

    column = numbers.start_index_map.index(axis)
    return Looked(axis, fills, lambda o: o[1][..., column], arrange, eqn.params["fill_value"], promised)


def embed(table: Any, ids: Any) -> jax.Array:
    """`table[ids]` through an ETP operation: the table gets an eligibility trace.

    `table` is `[rows, *features]`, `ids` are integers of any shape; the result is `[*ids, *features]`. Negative ids
    count from the end, as in NumPy. Raises EtirError for ids that are no integers.
    """
    table, ids = jnp.asarray(table), jnp.asarray(ids)
    if not jnp.issubdtype(ids.dtype, jnp.integer) or table.ndim == 0:
        raise error(
            "embed-ids",
            f"etir.embed got a table of shape {tuple(table.shape)} and ids of type {ids.dtype}",
            loc=calling_line(),
            help="a table has one axis or more, and ids are integers",
        )
    return call_operation(Lookup(), from_the_end(ids, table.shape[0]), table)
