"""Rows of arrays, one a step, that a loop writes and another reads: held from fold to fold, and never set anew."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..shared import is_parts


def joined(kinds: Any) -> Any:
    """A tree of kinds of arrays, `Parts` of them as one."""

    def one(x: Any) -> Any:
        if not is_parts(x):
            return x
        kind = x.arrays[0]
        return jax.ShapeDtypeStruct((len(x.arrays), *kind.shape), kind.dtype)

    return jax.tree.map(one, kinds, is_leaf=is_parts)


def blank(kinds: Any, length: int) -> Any:
    """Rows of zeros for a tree of such arrays."""
    return jax.tree.map(lambda kind: jnp.zeros((length, *kind.shape), kind.dtype), kinds)


class Numbers:
    """The numbers from zero up that XLA takes for unknown: what differs in such a number alone is compiled once.

    One such object for a program: its loops carry each number that anything in them reads.
    """

    def __init__(self, count: int) -> None:
        """Make so many."""
        self.hidden = jax.lax.optimization_barrier([np.int32(k) for k in range(count)])

    def apart(self, array: Any, count: int, axis: int = 0) -> list[Any]:
        """The entries along an axis, each read in the same way."""
        return [taken(array, k, axis) for _, k in zip(range(count), self.hidden[:count], strict=True)]

    def written(self, rows: Any, at: Any, values: Any) -> Any:
        """The rows, one of them replaced; `Parts` one by one, each in the same way."""

        def replaced(x: Any, r: Any) -> Any:
            if not is_parts(x):
                return put(r, x[None], at)
            for k, part in zip(self.hidden[: len(x.arrays)], x.arrays, strict=True):
                r = put(r, part[None, None], at, k)
            return r

        return jax.tree.map(replaced, values, rows, is_leaf=is_parts)


def cleared(rows: Any, at: Any) -> Any:
    """The rows, one of them zero."""
    return jax.tree.map(lambda r: put(r, jnp.zeros_like(r, shape=(1, *r.shape[1:])), at), rows)


def row(rows: Any, at: Any) -> Any:
    """One of the rows."""
    return jax.tree.map(lambda r: taken(jnp.asarray(r), at), rows)


def taken(array: jax.Array, at: Any, axis: int = 0) -> jax.Array:
    """One entry along an axis, of a place that is not negative."""
    start = _alike([at if k == axis else 0 for k in range(array.ndim)], at)
    sizes = [1 if k == axis else n for k, n in enumerate(array.shape)]
    found = jax.lax.dynamic_slice(array, start, sizes, allow_negative_indices=False)
    return jax.lax.squeeze(found, (axis,))


def put(array: jax.Array, part: jax.Array, *at: Any) -> jax.Array:
    """An array with a part of it replaced, which begins at places that are not negative: given ones, then zeros."""
    start = _alike([*at, *[0] * (array.ndim - len(at))], at[0])
    return jax.lax.dynamic_update_slice(array, part.astype(array.dtype), start, allow_negative_indices=False)


def _alike(places: list[Any], one: Any) -> list[Any]:
    """Places in the integer type of one of them."""
    dtype = jnp.result_type(one)
    return [x.astype(dtype) if isinstance(x, jax.Array) else np.asarray(x, dtype) for x in places]
