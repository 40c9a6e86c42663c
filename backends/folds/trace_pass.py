"""One pass over a positional trace: contraction, and advance over many steps, in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from .algebra import Algebra, Cotangents, Held, Jacobians, added
from .pattern import Sweep
from .tape import put, taken


def trace_pass(
    algebra: Algebra,
    sweep: Sweep,
    held: Held,
    product: Jacobians,
    factors: Mapping[int, jax.Array],
    data: jax.Array | None,
    cotangents: Cotangents | None,
    members: int | None = None,
) -> tuple[Held, jax.Array | None]:
    """`E <- P E + sum_t s_t (x) x_t`, and the contraction with the old trace.

    Args:
        algebra: the unit's.
        sweep: whose trace it is.
        held: the old trace, by state.
        product: `P`, the product of the Jacobians since the trace was last advanced, by pair of states.
        factors: `s`, the sensitivities carried to the end, `[time, slots?, *output]` by state.
        data: `x`, `[time, *data]`; None for an operation without data.
        cotangents: what to contract the old trace with, by state; None for no contraction.
        members: how many sweeps alike it is for: arrays have a leading axis then, or one after that of time.

    Returns:
        The new trace, and the contraction, of the weight's shape. By what the backend has chosen for the sweep.
    """
    run = xla_pass if sweep.choice is None or sweep.choice.run is None else sweep.choice.run
    return run(algebra, sweep, held, product, factors, data, cotangents, members)


def xla_pass(
    algebra: Algebra,
    sweep: Sweep,
    held: Held,
    product: Jacobians,
    factors: Mapping[int, jax.Array],
    data: jax.Array | None,
    cotangents: Cotangents | None,
    members: int | None = None,
) -> tuple[Held, jax.Array | None]:
    """`trace_pass` as XLA code, for every sweep."""
    place = sweep.placement
    pairs = {p: algebra.placed(sweep, x) for p, x in product.items() if p[0] in held and p[1] in held}
    chosen = None if cotangents is None else {k: algebra.placed(sweep, cotangents[k]) for k in held}
    axis = place.batch[:1]
    size = sum(trace.nbytes for trace in held.values())
    together = not axis or place.sizes[axis] == 1 or size < algebra.in_place_from
    if members is not None:
        return _member_by_member(algebra, sweep, "" if together else axis, members, held, pairs, factors, data, chosen)
    if together:
        return _advance(algebra, sweep, held, pairs, factors, data, chosen, "")
    return _entry_by_entry(algebra, sweep, axis, held, pairs, factors, data, chosen)


def _member_by_member(
    algebra: Algebra,
    sweep: Sweep,
    axis: str,
    members: int,
    held: Held,
    pairs: Any,
    factors: Any,
    data: Any,
    chosen: Any,
) -> tuple[Held, jax.Array | None]:
    """The pass, one member after the other, and of each one entry of `axis` after the other where there is one."""
    layout = sweep.placement
    weight, entries = sweep.site.weight.value.type, layout.sizes[axis] if axis else 1
    in_data = bool(axis) and layout.data is not None and axis in layout.data

    def entry(at: jax.Array, carry: tuple[Held, Any]) -> tuple[Held, Any]:
        whole, read = carry
        count = jnp.asarray(entries, at.dtype)
        member, b = jax.lax.div(at, count), jax.lax.rem(at, count)

        def pick(x: jax.Array, labels: str, lead: int = 0, inside: bool = True) -> jax.Array:
            x = taken(x, member, lead)
            place = labels.index(axis) + lead if axis and inside else None
            return x if place is None else taken(x, b, place)

        own = {p: taken(x, member) for p, x in pairs.items()}
        bars = None if chosen is None else {k: pick(x, layout.output) for k, x in chosen.items()}
        new, more = _advance(
            algebra,
            sweep,
            {k: pick(e, layout.trace) for k, e in whole.items()},
            {p: algebra.entry(sweep, x, axis, b) for p, x in own.items()} if axis else own,
            {k: pick(x, layout.output, 1) for k, x in factors.items()},
            None if data is None else pick(data, layout.data or "", 1, in_data),
            bars,
            axis,
        )
        new, more = jax.lax.optimization_barrier((new, more))
        updated: Held = {}
        for k, old in whole.items():
            start: list[Any] = [0] * old.ndim
            start[0] = member
            value = new[k][None]
            if axis:
                start[1 + layout.trace.index(axis)] = b
                value = jnp.expand_dims(value, 1 + layout.trace.index(axis))
            updated[k] = put(old, value, *start)
        return updated, None if more is None else put(read, (taken(read, member) + more)[None], member)

    start = None if chosen is None else jnp.zeros((members, *weight.shape), weight.dtype)
    return jax.lax.fori_loop(0, members * entries, entry, (held, start))


def _entry_by_entry(
    algebra: Algebra, sweep: Sweep, axis: str, held: Held, pairs: Any, factors: Any, data: Any, chosen: Any
) -> tuple[Held, jax.Array | None]:
    """The pass, one entry of `axis` after the other; the barrier keeps XLA from copying the whole trace."""
    layout = sweep.placement
    place = layout.trace.index(axis)
    output = layout.output.index(axis)
    in_data = layout.data is not None and axis in layout.data

    def entry(b: jax.Array, carry: tuple[Held, Any]) -> tuple[Held, Any]:
        whole, read = carry
        pick = lambda x, at: jax.lax.dynamic_index_in_dim(x, b, at, keepdims=False)  # noqa: E731
        old = {k: pick(e, place) for k, e in whole.items()}
        new, more = _advance(
            algebra,
            sweep,
            old,
            {p: algebra.entry(sweep, x, axis, b) for p, x in pairs.items()},
            {k: pick(x, output + 1) for k, x in factors.items()},
            pick(data, layout.data.index(axis) + 1) if in_data and layout.data else data,
            None if chosen is None else {k: algebra.entry(sweep, x, axis, b) for k, x in chosen.items()},
            axis,
        )
        new, read = jax.lax.optimization_barrier((new, None if more is None else read + more))
        updated = {k: jax.lax.dynamic_update_index_in_dim(whole[k], new[k], b, place) for k in whole}
        return updated, read

    weight = sweep.site.weight.value.type
    start = None if chosen is None else jnp.zeros(weight.shape, weight.dtype)
    return jax.lax.fori_loop(0, layout.sizes[axis], entry, (held, start))


def _advance(
    algebra: Algebra, sweep: Sweep, held: Held, pairs: Any, factors: Any, data: Any, chosen: Any, without: str
) -> tuple[Held, jax.Array | None]:
    """The arithmetic of the pass on arrays that lack the axis `without`."""
    layout = sweep.placement
    new: Held = {}
    moved, read = algebra.passed(sweep, held, pairs, chosen, without)
    for k, old in held.items():
        terms = [moved[k]] if k in moved else []
        if k in factors:
            terms.append(layout.outer(factors[k], data, time=True, without=without))
        new[k] = added(terms).astype(old.dtype) if terms else jnp.zeros_like(old)
    return new, read
