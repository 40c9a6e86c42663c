"""The rank-one trace of pp-prop: two vectors, advanced at every step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from ...ir.plan import AdvanceFactored
from .jacobian import Jacobians
from .positions import Layout, as_type_of, held_as

Factors = tuple[dict[int, jax.Array], jax.Array]
"""`F` at the site's output positions `[slots?, *output]` by state, and `X`, of the data's shape."""


class FactoredTrace:
    """`E ~ F (x) X` of one association."""

    def __init__(self, advance: AdvanceFactored, dtype: str | None = None) -> None:
        """Prepare for an `advance` operation."""
        self.layout = Layout(advance.association)
        self.decay = advance.decay
        self.types = tuple(held_as(dtype, value.type) for value in advance.factors)
        self.data_shape = advance.factors[1].type.shape
        self.states = range(len(advance.association.group.states))

    def zeros(self) -> Factors:
        """The factors at the beginning of a sequence."""
        shape = tuple(self.layout.sizes[label] for label in self.layout.output)
        return {k: jnp.zeros(shape, self.types[0]) for k in self.states}, jnp.zeros(self.data_shape, self.types[1])

    def step(
        self, factors: Factors, jacobians: Jacobians, sensitive: Sequence[jax.Array | None], data: jax.Array
    ) -> Factors:
        """The factors after one step."""
        rows, columns = factors
        new: dict[int, jax.Array] = {}
        for k, old in rows.items():
            carried = [self.layout.gather(x) * rows[on] for (of, on), x in jacobians.items() if of == k]
            total = self.decay * sum(carried[1:], carried[0]) if carried else jnp.zeros_like(old)
            f = sensitive[k]
            new[k] = (total if f is None else total + (1 - self.decay) * f).astype(old.dtype)
        return new, (self.decay * columns + data).astype(columns.dtype)

    def credit(self, factors: Factors, cotangents: Mapping[int, jax.Array]) -> jax.Array:
        """`<h_bar, F>`: what multiplies `X` in the contraction, of the output's shape."""
        terms = [self.layout.gather(cotangents[k]) * row for k, row in factors[0].items()]
        total = self.layout.sum_slots(sum(terms[1:], terms[0]))
        return as_type_of(total, self.layout.association.site.output.type.dtype)
