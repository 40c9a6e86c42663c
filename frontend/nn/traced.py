"""Layers whose weights, biases included, are used with ETP operations: they learn online where sites are explicit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO

from ...ir.sparse import sparse_matmul
from ...ir.weight_operations import bias, matmul, scale
from .. import random
from ..module import Module
from ..state import ParamState
from . import faults


class LoRA(Module):
    """`base(x) + (alpha / rank) * (x @ a) @ b`, `a` drawn at random, `b` zeros (Hu et al. 2021).

    `base` is any module or function; without one there is the low-rank product alone. Its weights learn as it has them:
    `etir.compile(..., frozen=["*base.*"])` holds them still, at no cost.
    """

    def __init__(
        self,
        in_size: int,
        out_size: int,
        rank: int,
        *,
        alpha: float | None = None,
        base: Callable[[jax.Array], jax.Array] | None = None,
    ) -> None:
        self.in_size, self.out_size, self.rank = in_size, out_size, rank
        self.factor = 1.0 if alpha is None else alpha / rank
        self.base = base
        self.a = ParamState(random.randn(in_size, rank) / in_size**0.5)
        self.b = ParamState(jnp.zeros((rank, out_size)))

    def update(self, x: jax.Array) -> jax.Array:
        """The image of `x`, `[..., out_size]`."""
        low = self.factor * matmul(matmul(x, self.a.value), self.b.value)
        return low if self.base is None else self.base(x) + low


class SparseLinear(Module):
    """`x @ w + b` with entries of `w` `[in_size, out_size]` at `indices` alone, `[entries, 2]`; the pattern is fixed.

    `w` holds the entries, drawn from a normal distribution of variance one over how many an output has, on the average.
    Raises EtirError for an index outside.
    """

    def __init__(self, in_size: int, out_size: int, indices: Any, *, bias: bool = True) -> None:
        self.in_size, self.out_size, self.indices = in_size, out_size, np.asarray(indices, np.int32).reshape(-1, 2)
        entries, outside = (
            len(self.indices),
            ~np.all((self.indices >= 0) & (self.indices < (in_size, out_size)), axis=1),
        )
        if outside.any():
            raise faults.layer_option(
                self, f"index {tuple(map(int, self.indices[outside][0]))} is outside [{in_size}, {out_size}]"
            )
        self.w = ParamState(random.randn(entries) * (out_size / max(1, entries)) ** 0.5)
        self.b = ParamState(jnp.zeros(out_size)) if bias else None

    def update(self, x: jax.Array) -> jax.Array:
        """The image of `x`, `[..., out_size]`."""
        entries: Any = self.w.value, self.indices
        y = sparse_matmul(x, BCOO(entries, shape=(self.in_size, self.out_size)))
        return y if self.b is None else bias(y, self.b.value)


class LayerNorm(Module):
    """The last axis, of `size`, brought to mean zero and variance one, times `w`, plus `b` (Ba et al. 2016).

    Its statistics mix positions: what comes to a state through it is dropped under positional rules, and labelled; its
    own `w` and `b` stand behind them.
    """

    def __init__(self, size: int, *, epsilon: float = 1e-5) -> None:
        self.size, self.epsilon = size, epsilon
        self.w, self.b = ParamState(jnp.ones(size)), ParamState(jnp.zeros(size))

    def update(self, x: jax.Array) -> jax.Array:
        """The normalised `x`, of its shape."""
        centred = x - jnp.mean(x, -1, keepdims=True)
        deviation = jnp.sqrt(jnp.mean(centred**2, -1, keepdims=True) + self.epsilon)
        return bias(scale(centred / deviation, self.w.value), self.b.value)
