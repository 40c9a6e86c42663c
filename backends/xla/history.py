"""What a stretch of steps leaves behind for its traces, and the backward sweep over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from .jacobian import Jacobians, Pair
from .positions import Layout, as_type_of

Cotangents = dict[int, jax.Array]
"""One array for each state of a group, at the group's positions."""


@dataclass(frozen=True, eq=False)
class Carried:
    """What the backward sweep over one group returns."""

    product: Jacobians
    """`P`, the product of the Jacobians over the stretch."""
    cotangents: Cotangents
    """The credit that arrived inside the stretch, pulled back to its beginning."""
    factors: list[dict[int, jax.Array]]
    """For each layout `s_t = (prod of later D) f_t`, `[time, slots?, *output]` by state."""
    credit: list[jax.Array | None]
    """For each layout the cotangent of the site's output that the arrived credit adds, `[time, *output]`."""


def closure(pattern: Sequence[Pair], states: int) -> list[Pair]:
    """The pairs of states that a product of any number of Jacobians of this pattern may couple."""
    pairs = {(k, k) for k in range(states)} | set(pattern)
    while True:
        new = {(i, k) for i, j in pairs for j2, k in pairs if j == j2} - pairs
        if not new:
            return sorted(pairs)
        pairs |= new


def backward(
    pattern: Sequence[Pair],
    layouts: Sequence[Layout],
    jacobians: Jacobians,
    sensitivities: Sequence[Sequence[jax.Array | None]],
    arriving: Cotangents | None,
    like: Mapping[int, jax.Array],
) -> Carried:
    """Sweep backwards over the steps of a stretch, for one group.

    Args:
        pattern: the pairs of states with a Jacobian.
        layouts: the layouts of the group's traces.
        jacobians: `[time, *group]` by pair.
        sensitivities: for each layout and state `[time, slots?, *output]`, or None.
        arriving: credit that arrives at the states *after* each step, `[time, *group]` by state; None for none.
        like: an array of each state, for shapes and element types.
    """
    pairs = closure(pattern, len(like))
    product: Jacobians = {p: (jnp.ones_like if p[0] == p[1] else jnp.zeros_like)(like[p[0]]) for p in pairs}
    credit: Cotangents = {k: jnp.zeros_like(x) for k, x in like.items()}

    def step(carry: tuple[Jacobians, Cotangents], at: Any) -> tuple[Any, Any]:
        product, credit = carry
        here, sensitive, arrived = at
        if arrived is not None:
            credit = {k: x + arrived[k] for k, x in credit.items()}
        factors = [_carry_on(layout, product, f) for layout, f in zip(layouts, sensitive, strict=True)]
        sent = [
            None if arrived is None else _send(layout, credit, f) for layout, f in zip(layouts, sensitive, strict=True)
        ]
        if arrived is not None:
            credit = {k: _column(credit, here, k, like[k]) for k in credit}
        product = {pair: _times(product, here, pair, like[pair[0]]) for pair in pairs}
        return (product, credit), (factors, sent)

    scanned = (jacobians, [list(f) for f in sensitivities], arriving)
    (product, credit), (factors, sent) = jax.lax.scan(step, (product, credit), scanned, reverse=True)
    return Carried(product=product, cotangents=credit, factors=factors, credit=sent)


def _times(product: Jacobians, here: Jacobians, pair: Pair, like: jax.Array) -> jax.Array:
    """One entry of `product @ here`."""
    terms = [x * here[j, pair[1]] for (i, j), x in product.items() if i == pair[0] and (j, pair[1]) in here]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(like)


def _column(credit: Cotangents, here: Jacobians, state: int, like: jax.Array) -> jax.Array:
    """One entry of `credit @ here`."""
    terms = [x * here[k, state] for k, x in credit.items() if (k, state) in here]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(like)


def _carry_on(layout: Layout, product: Jacobians, sensitive: Sequence[jax.Array | None]) -> dict[int, jax.Array]:
    """`product @ f`, by state, at the layout's positions."""
    found: dict[int, jax.Array] = {}
    for (of, on), x in product.items():
        f = sensitive[on]
        if f is not None:
            term = layout.gather(x) * f
            found[of] = found[of] + term if of in found else term
    return found


def _send(layout: Layout, credit: Cotangents, sensitive: Sequence[jax.Array | None]) -> jax.Array:
    """`credit @ f` at the site's output."""
    terms = [layout.gather(credit[k]) * f for k, f in enumerate(sensitive) if f is not None]
    total = layout.sum_slots(sum(terms[1:], terms[0]))
    return as_type_of(total, layout.association.site.output.type.dtype)
