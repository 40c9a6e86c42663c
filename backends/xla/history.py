"""What a stretch of steps leaves behind for its traces, and the backward sweep over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from .jacobian import Jacobians, Pair
from .positions import Layout, as_type_of
from .shared import Shared

Cotangents = dict[int, jax.Array]
"""One array for each state of a group, at the group's positions."""


@dataclass(frozen=True, eq=False)
class Carried:
    """What the backward sweep over one group returns."""

    product: Jacobians
    """`P`, the product of the Jacobians over the stretch."""
    cotangents: Cotangents
    """The credit that arrived in the stretch, pulled back to its beginning."""
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


@dataclass(frozen=True, eq=False)
class Stretch:
    """What one group's traces need to know of a stretch of steps."""

    pattern: Sequence[Pair]
    """The pairs of states with a Jacobian."""
    layouts: Sequence[Layout]
    """The layouts of the group's dense traces."""
    jacobians: Jacobians
    """`[time, *group]` by pair."""
    sensitivities: Sequence[Sequence[jax.Array | None]]
    """For each layout and state `[time, slots?, *output]`, or None."""
    arriving: Cotangents | None
    """Credit that arrives at the states *before* each step, `[time, *group]` by state; None for none."""
    like: Mapping[int, jax.Array]
    """An array of each state, for shapes and element types."""

    def zeros(self) -> Cotangents:
        """Zeros for each state, in the element type that holds every state of the group."""
        dtype = reduce(jnp.promote_types, [x.dtype for x in self.like.values()])
        return {k: jnp.zeros(x.shape, dtype) for k, x in self.like.items()}


def backward(stretches: Sequence[Stretch]) -> list[Carried]:
    """Sweep backwards over the steps of a stretch, all groups side by side in one loop."""
    if not stretches:
        return []
    start = [
        (
            {p: jnp.ones_like(zero[p[0]]) if p[0] == p[1] else zero[p[0]] for p in closure(s.pattern, len(zero))},
            zero,
        )
        for s in stretches
        for zero in [s.zeros()]
    ]

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        moved = [_step(s, *c, *x) for s, c, x in zip(stretches, carry, at.tree, strict=True)]
        return [c for c, _ in moved], Shared([found for _, found in moved])

    scanned = Shared([(s.jacobians, [list(f) for f in s.sensitivities], s.arriving) for s in stretches])
    ends, found = jax.lax.scan(step, start, scanned, reverse=True)
    return [
        Carried(product=product, cotangents=credit, factors=factors, credit=sent)
        for (product, credit), (factors, sent) in zip(ends, found.tree, strict=True)
    ]


def _step(
    stretch: Stretch, product: Jacobians, credit: Cotangents, here: Jacobians, sensitive: Any, arrived: Any
) -> tuple[Any, Any]:
    """One step of the sweep, for one group."""
    pairs = list(zip(stretch.layouts, sensitive, strict=True))
    factors = _once_each(pairs, lambda layout, f: _carry_on(layout, product, f))
    sent = [None] * len(pairs) if arrived is None else _once_each(pairs, lambda layout, f: _send(layout, credit, f))
    if arrived is not None:
        credit = {k: _column(credit, here, k) + arrived[k] for k in credit}
    product = {pair: _times(product, here, pair) for pair in product}
    return (product, credit), (factors, sent)


def _once_each(pairs: Sequence[tuple[Layout, Any]], compute: Callable[[Layout, Any], Any]) -> list[Any]:
    """`compute` of each pair, once for layouts that are the state's own positions and share their sensitivities."""
    known: dict[Any, Any] = {}
    found: list[Any] = []
    for layout, sensitive in pairs:
        plain = layout.targets.is_identity
        dtype = layout.association.site.output.type.dtype
        key = (tuple(map(id, sensitive)), dtype) if plain else (id(layout), dtype)
        if key not in known:
            known[key] = compute(layout, sensitive)
        found.append(known[key])
    return found


def _times(product: Jacobians, here: Jacobians, pair: Pair) -> jax.Array:
    """One entry of `product @ here`."""
    terms = [x * here[j, pair[1]] for (i, j), x in product.items() if i == pair[0] and (j, pair[1]) in here]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(product[pair])


def _column(credit: Cotangents, here: Jacobians, state: int) -> jax.Array:
    """One entry of `credit @ here`."""
    terms = [x * here[k, state] for k, x in credit.items() if (k, state) in here]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(credit[state])


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
