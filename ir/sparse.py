"""Products with sparse weights: a fixed pattern, and data that learn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO, BCSR

from .diagnostics import error
from .expression import Expression
from .loc import calling_line
from .weight_operations import apply_expression

Product = Callable[[Expression, Any, Any], Any]
"""A product by an index expression: data first, then the weight."""

_PADDED = 2
"""Rows of one length are used where they hold at most so many times what they have to."""


class Pattern(NamedTuple):
    """Where the entries of a sparse matrix stand: of each, the position that it reads and the one that it adds to."""

    source: Any
    target: Any
    size: int
    """How many positions are added to."""

    @property
    def fixed(self) -> bool:
        """Whether it is known while a step is traced."""
        return not any(isinstance(index, jax.core.Tracer) for index in (self.source, self.target))


def sparse_matmul(x: Any, w: Any) -> jax.Array:
    """`x @ w` through an ETP operation, where one of the two is a sparse matrix and a weight: a `BCOO` or a `BCSR`.

    Shapes are `[..., i] @ [i, j]` or `[i, j] @ [j, ...]`, the sparse operand being the one of two axes. Its data learn;
    its pattern is fixed: make it in the step of data among the parameters and of indices that are constants,
    `BCOO((params["data"], indices), shape=(i, j))`. Entries that lie outside of the shape count for nothing. Traces
    are as large as the data, and exact where those of a dense weight are. Raises EtirError for other operands.
    """
    on_left = isinstance(x, (BCOO, BCSR))
    sparse, dense = (x, jnp.asarray(w)) if on_left else (w, jnp.asarray(x))
    if not isinstance(sparse, (BCOO, BCSR)) or sparse.ndim != 2 or sparse.n_batch or sparse.n_dense or not dense.ndim:
        raise error(
            "sparse-operand",
            f"etir.sparse_matmul got {_described(x)} and {_described(w)}; wanted a sparse matrix and an array",
            loc=calling_line(),
            help="make a BCOO or a BCSR of two axes, without batch or dense axes, of data and constant indices",
        )
    read, added = (1, 0) if on_left else (0, 1)
    axis = 0 if on_left else -1
    if dense.shape[axis] != sparse.shape[read]:
        shapes = f"{tuple(jnp.shape(x))} and {tuple(jnp.shape(w))}"
        raise error("operand-shape", f"etir.sparse_matmul of shapes {shapes}, which do not fit", loc=calling_line())
    indices = _coordinates(sparse)
    pattern = Pattern(indices[..., read], indices[..., added], sparse.shape[added])
    y = sparse_product(partial(apply_expression, "sparse_matmul"), jnp.moveaxis(dense, axis, -1), sparse.data, pattern)
    return jnp.moveaxis(y, -1, axis)


def _described(operand: Any) -> str:
    kind = type(operand).__name__ if isinstance(operand, (BCOO, BCSR)) else "an array"
    return f"{kind} of shape {tuple(jnp.shape(operand))}"


def _coordinates(sparse: Any) -> Any:
    """The indices of the entries, `[entries, 2]`: a NumPy array where they are known while a step is traced."""
    indices = [sparse.indices] if isinstance(sparse, BCOO) else [sparse.indices, sparse.indptr]
    fixed = not any(isinstance(index, jax.core.Tracer) for index in indices)
    found = [np.asarray(index) for index in indices] if fixed else indices
    return found[0] if len(found) == 1 else expanded(*found, rows=sparse.shape[0])


def expanded(columns: Any, bounds: Any, *, rows: int) -> Any:
    """The indices of entries whose rows begin and end at these bounds, `[entries, 2]`; the last ones may be padding."""
    xp: Any = np if isinstance(columns, np.ndarray) else jnp
    places = xp.arange(columns.shape[0])
    row = xp.searchsorted(bounds, places, side="right") - 1
    return xp.stack([xp.where(places < bounds[-1], row, rows), columns], -1)


def sparse_product(product: Product, x: Any, data: Any, pattern: Pattern) -> Any:
    """`x [..., in]` times a sparse matrix of these data, `[..., out]`, by a product that is a site.

    Where few entries more fill rows of one length, it is `sum_d x[source[o, d]] * data[o, d]`: a product at the
    positions of the result, which no table has to lead to. Elsewhere the products of all entries are added up.
    """
    if pattern.fixed:
        pattern, data = _within(pattern, data, x.shape[-1])
        rows = rows_of(np.asarray(pattern.target), pattern.size)
        if rows is not None:
            held = rows >= 0
            in_order = np.array_equal(rows.ravel(), np.arange(len(pattern.target)))
            padded = data.reshape(rows.shape) if in_order else taken(data, as_places(np.maximum(rows, 0)))
            padded = padded if held.all() else jnp.where(held, padded, jnp.zeros((), data.dtype))
            source = np.where(held, np.asarray(pattern.source)[np.maximum(rows, 0)], 0)
            return product(Expression.of("...od,od->...o", (x.ndim + 1, 2)), taken(x, as_places(source)), padded)
    picked = jnp.take(x, pattern.source, -1, mode="fill", fill_value=0)
    parts = product(Expression.of("...e,e->...e", (x.ndim, 1)), picked, data)
    empty = jnp.zeros((*x.shape[:-1], pattern.size), parts.dtype)
    return empty.at[..., pattern.target].add(parts, mode="drop")


def as_places(index: np.ndarray) -> np.ndarray:
    """Constant indices as `taken` wants them. An array of its own: what is given twice is one constant of a program."""
    return np.ascontiguousarray(index[..., None], np.int32)


def taken(x: Any, places: Any) -> Any:
    """The entries of the last axis at places, `[..., 1]`, all of which it has: nothing has to see to that."""
    lead = tuple(range(x.ndim - 1))
    numbers = jax.lax.GatherDimensionNumbers(
        offset_dims=lead, collapsed_slice_dims=(x.ndim - 1,), start_index_map=(x.ndim - 1,)
    )
    return jax.lax.gather(x, places, numbers, (*x.shape[:-1], 1), mode=jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS)


def _within(pattern: Pattern, data: Any, size: int) -> tuple[Pattern, Any]:
    """The pattern and the data without the entries that lie outside of the matrix, which pad it."""
    source, target = np.asarray(pattern.source), np.asarray(pattern.target)
    inside = (source >= 0) & (source < size) & (target >= 0) & (target < pattern.size)
    if inside.all():
        return Pattern(source, target, pattern.size), data
    return Pattern(source[inside], target[inside], pattern.size), data[np.flatnonzero(inside)]


def rows_of(target: np.ndarray, size: int) -> np.ndarray | None:
    """The entries that add to each position, `[size, longest]` padded with -1; None where most would be padding."""
    counts = np.bincount(target, minlength=size)
    longest = int(counts.max(initial=0))
    if not longest or longest * size > _PADDED * len(target):
        return None
    order = np.argsort(target, kind="stable")
    places = np.arange(len(target)) - np.repeat(np.cumsum(counts) - counts, counts)
    rows = np.full((size, longest), -1)
    rows[target[order], places] = order
    return rows
