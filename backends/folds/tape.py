"""Rows of arrays, one a step, that a loop writes and another reads: held from fold to fold, and never set anew."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def blank(kinds: Any, length: int) -> Any:
    """Rows of zeros for a tree of such arrays."""
    return jax.tree.map(lambda kind: jnp.zeros((length, *kind.shape), kind.dtype), kinds)


def written(rows: Any, at: Any, values: Any) -> Any:
    """The rows, one of them replaced."""
    return jax.tree.map(lambda r, x: jax.lax.dynamic_update_index_in_dim(r, x, at, 0), rows, values)


def cleared(rows: Any, at: Any) -> Any:
    """The rows, one of them zero."""
    return jax.tree.map(
        lambda r: jax.lax.dynamic_update_index_in_dim(r, jnp.zeros_like(r, shape=r.shape[1:]), at, 0), rows
    )


def row(rows: Any, at: Any) -> Any:
    """One of the rows."""
    return jax.tree.map(lambda r: jax.lax.dynamic_index_in_dim(jnp.asarray(r), at, keepdims=False), rows)
