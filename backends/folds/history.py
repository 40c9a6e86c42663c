"""What a stretch of steps leaves behind for its traces, and the backward sweep over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.plan.placement import as_type_of
from ...ir.values import Value
from ..shared import Shared
from .pattern import Pair, Sweep, Unit

Cotangents = dict[int, jax.Array]
"""One array for each state, by its place among the hidden states, at the group's positions."""

Jacobians = dict[Pair, jax.Array]


@dataclass(frozen=True, eq=False)
class Carried:
    """What the backward sweep over one unit returns."""

    product: Jacobians
    """`P`, the product of the Jacobians over the stretch."""
    cotangents: Cotangents
    """The credit that arrived in the stretch, pulled back to its beginning."""
    factors: list[Cotangents]
    """For each sweep `s_t = (prod of later D) f_t`, `[time, slots?, *output]` by state."""
    credit: list[jax.Array | None]
    """For each sweep the cotangent of the site's output that the arrived credit adds, `[time, *output]`."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """What one unit's traces need to know of a stretch of steps."""

    unit: Unit
    record: Mapping[Value, jax.Array]
    """Jacobians and sensitivities, `[time, ...]`."""
    arriving: Cotangents | None
    """Credit that arrives at the states *before* each step, `[time, *group]` by state; None for none."""
    like: Mapping[int, jax.Array]
    """An array of each state, for shapes and element types."""

    @property
    def jacobians(self) -> Jacobians:
        """`D`, `[time, *group]` by pair."""
        return {pair: self.record[value] for pair, value in self.unit.jacobians.items()}

    @property
    def sensitivities(self) -> list[Cotangents]:
        """`f` of each sweep, `[time, slots?, *output]` by state."""
        return [{k: self.record[f] for k, f in sweep.factors.items()} for sweep in self.unit.sweeps]

    def zeros(self) -> Cotangents:
        """Zeros for each state, in the element type that holds every state of the unit."""
        dtype = reduce(jnp.promote_types, [x.dtype for x in self.like.values()])
        return {k: jnp.zeros(x.shape, dtype) for k, x in self.like.items()}


def closure(pattern: Iterable[Pair], states: Iterable[int]) -> list[Pair]:
    """The pairs of states that a product of any number of Jacobians of this pattern may couple."""
    pairs = {(k, k) for k in states} | set(pattern)
    while True:
        new = {(i, k) for i, j in pairs for j2, k in pairs if j == j2} - pairs
        if not new:
            return sorted(pairs)
        pairs |= new


def backward(stretches: Sequence[Stretch]) -> list[Carried]:
    """Sweep backwards over the steps of a stretch, all units side by side in one loop."""
    if not stretches:
        return []
    start = [
        (
            {
                p: jnp.ones_like(zero[p[0]]) if p[0] == p[1] else zero[p[0]]
                for p in closure(s.unit.jacobians, s.unit.states)
            },
            zero,
        )
        for s in stretches
        for zero in [s.zeros()]
    ]

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        moved = [_step(s.unit, *c, *x) for s, c, x in zip(stretches, carry, at.tree, strict=True)]
        return [c for c, _ in moved], Shared([found for _, found in moved])

    scanned = Shared([(s.jacobians, s.sensitivities, s.arriving) for s in stretches])
    ends, found = jax.lax.scan(step, start, scanned, reverse=True)
    return [
        Carried(product=product, cotangents=credit, factors=factors, credit=sent)
        for (product, credit), (factors, sent) in zip(ends, found.tree, strict=True)
    ]


def _step(
    unit: Unit, product: Jacobians, credit: Cotangents, here: Jacobians, sensitive: Any, arrived: Any
) -> tuple[Any, Any]:
    """One step of the sweep, for one unit."""
    pairs = list(zip(unit.sweeps, sensitive, strict=True))
    factors = _once_each(pairs, lambda sweep, f: _carry_on(sweep, product, f))
    sent = [None] * len(pairs) if arrived is None else _once_each(pairs, lambda sweep, f: _send(sweep, credit, f))
    if arrived is not None:
        credit = {k: (_column(credit, here, k) + arrived[k]).astype(credit[k].dtype) for k in credit}
    product = {pair: _times(product, here, pair) for pair in product}
    return (product, credit), (factors, sent)


def _once_each(pairs: Sequence[tuple[Sweep, Any]], compute: Callable[[Sweep, Any], Any]) -> list[Any]:
    """`compute` of each pair, once for sweeps that lie at the state's own positions and share their sensitivities."""
    known: dict[Any, Any] = {}
    found: list[Any] = []
    for sweep, sensitive in pairs:
        dtype = sweep.site.output.type.dtype
        same = tuple((k, id(f)) for k, f in sensitive.items()), sweep.states
        key = (same if sweep.placement.is_identity else id(sweep), dtype)
        if key not in known:
            known[key] = compute(sweep, sensitive)
        found.append(known[key])
    return found


def _times(product: Jacobians, here: Jacobians, pair: Pair) -> jax.Array:
    """One entry of `product @ here`."""
    terms = [x * here[j, pair[1]] for (i, j), x in product.items() if i == pair[0] and (j, pair[1]) in here]
    return sum(terms[1:], terms[0]).astype(product[pair].dtype) if terms else jnp.zeros_like(product[pair])


def _column(credit: Cotangents, here: Jacobians, state: int) -> jax.Array:
    """One entry of `credit @ here`."""
    terms = [x * here[k, state] for k, x in credit.items() if (k, state) in here]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros_like(credit[state])


def _carry_on(sweep: Sweep, product: Jacobians, sensitive: Cotangents) -> Cotangents:
    """`product @ f`, by state, at the sweep's positions."""
    found: Cotangents = {}
    for (of, on), x in product.items():
        if on in sensitive and of in sweep.states:
            term = sweep.placement.gather(x) * sensitive[on]
            found[of] = found[of] + term if of in found else term
    return found


def _send(sweep: Sweep, credit: Cotangents, sensitive: Cotangents) -> jax.Array:
    """`credit @ f` at the site's output."""
    terms = [sweep.placement.gather(credit[k]) * f for k, f in sensitive.items()]
    kind = sweep.site.output.type
    if not terms:
        return jnp.zeros(kind.shape, kind.dtype)
    return as_type_of(sweep.placement.sum_slots(sum(terms[1:], terms[0])), kind.dtype)
