"""What a stretch of steps leaves behind for its traces, and the backward sweep over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ...ir.values import Value
from ..shared import Shared
from .algebra import Cotangents, Jacobians, OnSlots, Pair
from .pattern import Sweep, Unit


@dataclass(frozen=True, eq=False)
class Carried:
    """What the backward sweep over one unit returns."""

    product: Jacobians
    """`P`, the product of the Jacobians over the stretch, as the unit's algebra lays it out."""
    cotangents: Cotangents
    """The credit that arrived in the stretch, pulled back to its beginning, as the unit's algebra lays it out."""
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
    start = [no_steps(s.unit, s.like) for s in stretches]

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        moved = [swept_step(s.unit, *c, *x) for s, c, x in zip(stretches, carry, at.tree, strict=True)]
        return [c for c, _ in moved], Shared([found for _, found in moved])

    scanned = Shared([(s.jacobians, s.sensitivities, s.arriving) for s in stretches])
    ends, found = jax.lax.scan(step, start, scanned, reverse=True)
    return [
        Carried(product=product, cotangents=credit, factors=factors, credit=sent)
        for (product, credit), (factors, sent) in zip(ends, found.tree, strict=True)
    ]


def no_steps(unit: Unit, like: Mapping[int, Any]) -> tuple[Jacobians, Cotangents]:
    """What a sweep over one unit begins with: no Jacobian, and no credit. `like` has each state's shape."""
    return unit.algebra.start(closure(unit.jacobians, unit.states), like)


def swept_step(
    unit: Unit, product: Jacobians, credit: Cotangents, here: Jacobians, sensitive: Any, arrived: Any
) -> tuple[Any, Any]:
    """One step of the sweep, for one unit."""
    algebra, pairs = unit.algebra, list(zip(unit.sweeps, sensitive, strict=True))
    shared = isinstance(algebra, OnSlots)
    factors = _once_each(pairs, shared, lambda sweep, f: algebra.carried_on(sweep, product, f))
    sent = [None] * len(pairs)
    here = algebra.here(here)
    if arrived is not None:
        sent = _once_each(pairs, shared, lambda sweep, f: algebra.sent(sweep, credit, f))
        credit = algebra.sent_back(credit, here, arrived)
    return (algebra.times(product, here), credit), (factors, sent)


def _once_each(pairs: Sequence[tuple[Sweep, Any]], shared: bool, compute: Callable[[Sweep, Any], Any]) -> list[Any]:
    """`compute` of each pair, once for sweeps that share their positions and their sensitivities.

    Sweeps share their positions where these are the state's own, or all of a unit's are `shared`.
    """
    known: dict[Any, Any] = {}
    found: list[Any] = []
    for sweep, sensitive in pairs:
        dtype = sweep.site.output.type.dtype
        same = tuple((k, id(f)) for k, f in sensitive.items()), sweep.states
        key = (same if shared or sweep.placement.is_identity else id(sweep), dtype)
        if key not in known:
            known[key] = compute(sweep, sensitive)
        found.append(known[key])
    return found
