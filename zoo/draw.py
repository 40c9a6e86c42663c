"""Parameters and states of the zoo's models: drawn by shape, nothing clever."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

Shape = tuple[int, ...]


def draw_parameters(key: jax.Array, shapes: Any, dtype: Any) -> Any:
    """Return normal arrays of these shapes: matrices scaled by 1/sqrt(fan in), vectors by 0.3 (so no bias is zero)."""
    leaves, treedef = jax.tree.flatten(shapes, is_leaf=lambda leaf: isinstance(leaf, tuple))
    keys = jax.random.split(key, len(leaves))
    return treedef.unflatten([_draw(k, shape, dtype) for k, shape in zip(keys, leaves, strict=True)])


def _draw(key: jax.Array, shape: Shape, dtype: Any) -> jax.Array:
    spread = 0.3 if len(shape) < 2 else 1 / math.sqrt(shape[-2])
    return spread * jax.random.normal(key, shape, dtype)


def at_rest(*names: str) -> Callable[[Any, Shape, Any], dict[str, jax.Array]]:
    """Return a maker of states of one position a hidden unit, all zero."""

    def make(sizes: Any, batch: Shape, dtype: Any) -> dict[str, jax.Array]:
        return {name: jnp.zeros((*batch, sizes.hidden), dtype) for name in names}

    return make


def labelled(**paths: str) -> Mapping[str, str]:
    """Return labels by path from paths by label: `labelled(exact="W b", approximate="U")`."""
    return {path: label.replace("_or_", "|") for label, names in paths.items() for path in names.split()}
