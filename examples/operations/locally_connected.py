"""A locally connected layer: a convolution in one dimension whose kernel is another one at every place.

Its forward pass adds up one small product a place of the window, and makes no patches. Traces live on patches: there
the layer is one product for each position, and `expression` says so.
"""

from typing import Any

import jax
import jax.numpy as jnp

import etir


def apply(x: jax.Array, w: jax.Array, *, stride: int = 1) -> jax.Array:
    """`[..., space, features]` and `[positions, window, features, new]` to `[..., positions, new]`."""
    positions, window = w.shape[:2]
    parts = (x[..., k : k + (positions - 1) * stride + 1 : stride, :] for k in range(window))
    return sum(jnp.einsum("...pc,pco->...po", part, w[:, k]) for k, part in enumerate(parts))


def unfold(x: jax.Array, w: Any, *, stride: int = 1) -> jax.Array:
    """Every position's window, `[..., positions, window, features]`; of `w` shape and type are known."""
    positions, window = w.shape[:2]
    places = stride * jnp.arange(positions)[:, None] + jnp.arange(window)
    return x[..., places, :]


locally_connected = etir.register_operation(
    "locally_connected", apply=apply, unfold=unfold, expression="...pkc,pkco->...po"
)
