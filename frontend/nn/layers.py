"""The few layers that nearly every model needs; their weights learn online by default."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.weight_operations import bias as add_bias
from ...ir.weight_operations import matmul
from .. import random
from ..module import Module
from ..state import ParamState


class Linear(Module):
    """`x @ w + b`, with `w` of shape [in_size, out_size] drawn from a normal distribution of variance 1 / in_size.

    `product` is what multiplies. With `jnp.matmul` neither `w` nor `b` takes part in online learning where sites are
    explicit.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        bias: bool = True,
        product: Callable[[jax.Array, jax.Array], jax.Array] = matmul,
    ) -> None:
        self.in_size, self.out_size, self.product = in_size, out_size, product
        self.w = ParamState(random.randn(in_size, out_size) / in_size**0.5)
        self.b = ParamState(jnp.zeros(out_size)) if bias else None

    def update(self, x: jax.Array) -> jax.Array:
        """The image of `x`, of shape [..., out_size]."""
        y = self.product(x, self.w.value)
        if self.b is None:
            return y
        return y + self.b.value if self.product is jnp.matmul else add_bias(y, self.b.value)


class Sequential(Module):
    """Modules and functions, each called with what the one before it returned; `layers.0`, `layers.1`, ... by path."""

    def __init__(self, *layers: Callable[..., Any]) -> None:
        self.layers = layers

    def update(self, x: Any) -> Any:
        """What the last layer returns."""
        for layer in self.layers:
            x = layer(x)
        return x
