"""What a stretch of steps leaves behind for its traces, and the backward sweep over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

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
    """For each sweep `s_t = (prod of later D) f_t`, `[time, *output]` by state, slots among the axes."""
    credit: list[jax.Array | None]
    """For each sweep the cotangent of the site's output that the arrived credit adds, `[time, *output]`."""


@dataclass(frozen=True, eq=False)
class Stretch:
    """What one unit's traces need to know of a stretch of steps."""

    unit: Unit
    record: Mapping[Value, jax.Array]
    """Jacobians and sensitivities, or what they are remade from, and data, `[time, ...]`."""
    arriving: Cotangents | None
    """Credit that arrives at the states *before* each step, `[time, *group]` by state; None for none."""
    like: Mapping[int, jax.Array]
    """An array of each state, for shapes and element types."""
    constants: Mapping[Value, jax.Array] = field(default_factory=dict[Value, jax.Array])
    """Parameters and weights."""

    @property
    def steps(self) -> int:
        """How many there are."""
        return next(iter(self.record.values())).shape[0]

    @property
    def rows(self) -> list[jax.Array]:
        """What was kept of each step, `[time, ...]`."""
        return [self.record[value] for value in self.unit.kept]

    def linearised(self, rows: Sequence[Any]) -> tuple[Jacobians, list[Cotangents]]:
        """`D`, and each sweep's `f`, of one of the rows, or of all where nothing is remade."""
        return self.unit.linearised({**self.constants, **dict(zip(self.unit.kept, rows, strict=True))})


def closure(pattern: Iterable[Pair], states: Iterable[int]) -> list[Pair]:
    """The pairs of states that a product of any number of Jacobians of this pattern may couple."""
    pairs = {(k, k) for k in states} | set(pattern)
    while True:
        new = {(i, k) for i, j in pairs for j2, k in pairs if j == j2} - pairs
        if not new:
            return sorted(pairs)
        pairs |= new


def columns(unit: Unit) -> list[Pair]:
    """The pairs of states that a single step may couple: a Jacobian's, and each state with itself that is carried."""
    return sorted({*unit.jacobians, *((k, k) for k in unit.states if k not in unit.derived)})


def here_at(unit: Unit, jacobians: Mapping[Pair, Any], like: Mapping[int, Any]) -> Jacobians:
    """A step's Jacobians as the unit's algebra has them, for all of `columns`."""
    found = unit.algebra.here(jacobians)
    zeros = jax.tree.map(jnp.zeros_like, unit.algebra.start(columns(unit), like)[0])
    return {pair: found[pair].astype(zero.dtype) if pair in found else zero for pair, zero in zeros.items()}


def backward(stretches: Sequence[Stretch], behind: bool) -> list[Carried]:
    """Sweep backwards over the steps of a stretch, each unit by what the backend has chosen.

    With `behind` the traces stay one step behind: the last step is no part of the products, nor of what is added.
    """
    found = dict[Stretch, Carried]()
    for stretch in stretches:
        choice = stretch.unit.choice
        if choice is not None and choice.run is not None and not behind:
            found[stretch] = choice.run(stretch)
    together = [stretch for stretch in stretches if stretch not in found]
    found.update(zip(together, in_one_loop(together, behind), strict=True))
    return [found[stretch] for stretch in stretches]


def in_one_loop(stretches: Sequence[Stretch], behind: bool) -> list[Carried]:
    """The sweep as XLA code, all units side by side in one loop."""
    if not stretches:
        return []
    start = [no_steps(s.unit, s.like, behind) for s in stretches]

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        (of_each, last), moved = at, list[Any]()
        for s, (product, credit), (rows, arrived) in zip(stretches, carry, of_each.tree, strict=True):
            here, sensitive = s.linearised(rows)
            moved.append(swept_step(s.unit, product, credit, s.unit.algebra.here(here), sensitive, arrived, last=last))
        return [c for c, _ in moved], Shared([found for _, found in moved])

    scanned = Shared([(s.rows, s.arriving) for s in stretches])
    steps = stretches[0].steps
    last = jnp.arange(steps) == steps - 1 if behind else None
    ends, found = jax.lax.scan(step, start, (scanned, last), length=steps, reverse=True)
    return [
        Carried(product=product, cotangents=credit, factors=factors, credit=sent)
        for (product, credit), (factors, sent) in zip(ends, found.tree, strict=True)
    ]


def no_steps(unit: Unit, like: Mapping[int, Any], behind: bool) -> tuple[Jacobians, Cotangents]:
    """What a sweep over one unit begins with: no Jacobian, and no credit. `like` has each state's shape.

    The product is of the states whose traces are carried. Where it stays `behind`, it is zero until the last step.
    """
    carried = [k for k in unit.states if k not in unit.derived]
    pairs = [(of, on) for of, on in unit.jacobians if of in carried and on in carried]
    product, credit = unit.algebra.start(closure(pairs, carried), like)
    return jax.tree.map(jnp.zeros_like, product) if behind else product, credit


def swept_step(
    unit: Unit,
    product: Jacobians,
    credit: Cotangents,
    here: Jacobians,
    sensitive: Any,
    arrived: Any,
    last: Any = None,
) -> tuple[Any, Any]:
    """One step of the sweep, for one unit, from its Jacobians as the algebra has them.

    `last`, where traces stay one step behind, says whether the product begins before this step.
    """
    algebra, pairs = unit.algebra, list(zip(unit.sweeps, sensitive, strict=True))
    shared = isinstance(algebra, OnSlots)
    factors = _once_each(pairs, shared, lambda sweep, f: algebra.carried_on(sweep, product, f))
    sent = [None] * len(pairs)
    if arrived is not None:
        sent = _once_each(pairs, shared, lambda sweep, f: algebra.sent(sweep, credit, f))
        credit = algebra.sent_back(credit, here, arrived)
    moved = algebra.times(product, here)
    if last is not None:
        one = algebra.identity(list(moved), credit)
        moved = {pair: jnp.where(last, one[pair], x) for pair, x in moved.items()}
    return (moved, credit), (factors, sent)


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
