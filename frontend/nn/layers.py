"""The few layers that nearly every model needs; their weights are used with plain JAX operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .. import random
from ..module import Module
from ..state import ParamState


class Linear(Module):
    """`x @ w + b`, with `w` of shape [in_size, out_size] drawn from a normal distribution of variance 1 / in_size.

    `product` is what multiplies. `jnp.matmul` takes no part in online learning where sites are explicit; give
    `etir.matmul` to take part.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        bias: bool = True,
        product: Callable[[jax.Array, jax.Array], jax.Array] = jnp.matmul,
    ) -> None:
        self.in_size, self.out_size, self.product = in_size, out_size, product
        self.w = ParamState(random.randn(in_size, out_size) / in_size**0.5)
        self.b = ParamState(jnp.zeros(out_size)) if bias else None

    def update(self, x: jax.Array) -> jax.Array:
        """The image of `x`, of shape [..., out_size]."""
        y = self.product(x, self.w.value)
        return y if self.b is None else y + self.b.value


class Sequential(Module):
    """Modules and functions, each called with what the one before it returned; `layers.0`, `layers.1`, ... by path."""

    def __init__(self, *layers: Callable[..., Any]) -> None:
        self.layers = layers

    def update(self, x: Any) -> Any:
        """What the last layer returns."""
        for layer in self.layers:
            x = layer(x)
        return x
