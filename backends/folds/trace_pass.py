"""One pass over a positional trace: contraction, and advance over many steps, in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.plan.contract import contraction
from ...ir.plan.placement import align
from .history import Cotangents, Jacobians
from .pattern import Sweep

_IN_PLACE_BYTES = 1 << 20
"""Traces of at least this size are advanced entry by entry of their first axis, so that no second copy is ever held."""

Held = dict[int, jax.Array]
"""The arrays of one trace, by state."""


def trace_pass(
    sweep: Sweep,
    held: Held,
    product: Jacobians,
    factors: Mapping[int, jax.Array],
    data: jax.Array | None,
    cotangents: Cotangents | None,
) -> tuple[Held, jax.Array | None]:
    """`E <- P E + sum_t s_t (x) x_t`, and the contraction with the old trace.

    Args:
        sweep: whose trace it is.
        held: the old trace, by state.
        product: `P`, the product of the Jacobians since the trace was last advanced, `[*group]` by pair of states.
        factors: `s`, the sensitivities carried to the end, `[time, slots?, *output]` by state.
        data: `x`, `[time, *data]`; None for an operation without data.
        cotangents: what to contract the old trace with, `[*group]` by state; None for no contraction.

    Returns:
        The new trace, and the contraction, of the weight's shape.
    """
    place = sweep.placement
    pairs = {p: place.gather(x) for p, x in product.items() if p[0] in held and p[1] in held}
    chosen = None if cotangents is None else {k: place.gather(cotangents[k]) for k in held}
    axis = place.batch[:1]
    size = sum(trace.nbytes for trace in held.values())
    if not axis or place.sizes[axis] == 1 or size < _IN_PLACE_BYTES:
        return _advance(sweep, held, pairs, factors, data, chosen, "")
    return _entry_by_entry(sweep, axis, held, pairs, factors, data, chosen)


def _entry_by_entry(
    sweep: Sweep, axis: str, held: Held, pairs: Any, factors: Any, data: Any, chosen: Any
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
            sweep,
            old,
            {p: pick(x, output) for p, x in pairs.items()},
            {k: pick(x, output + 1) for k, x in factors.items()},
            pick(data, layout.data.index(axis) + 1) if in_data and layout.data else data,
            None if chosen is None else {k: pick(x, output) for k, x in chosen.items()},
            axis,
        )
        new, read = jax.lax.optimization_barrier((new, None if more is None else read + more))
        updated = {k: jax.lax.dynamic_update_index_in_dim(whole[k], new[k], b, place) for k in whole}
        return updated, read

    weight = sweep.site.weight.value.type
    start = None if chosen is None else jnp.zeros(weight.shape, weight.dtype)
    return jax.lax.fori_loop(0, layout.sizes[axis], entry, (held, start))


def _advance(
    sweep: Sweep, held: Held, pairs: Any, factors: Any, data: Any, chosen: Any, without: str
) -> tuple[Held, jax.Array | None]:
    """The arithmetic of the pass on arrays that lack the axis `without`."""
    layout = sweep.placement
    output, trace = layout.output.replace(without, ""), layout.trace.replace(without, "")
    new: Held = {}
    for k, old in held.items():
        terms = [align(x, output, trace) * held[on] for (of, on), x in pairs.items() if of == k]
        if k in factors:
            terms.append(layout.outer(factors[k], data, time=True, without=without))
        new[k] = sum(terms[1:], terms[0]).astype(old.dtype) if terms else jnp.zeros_like(old)
    if chosen is None:
        return new, None
    return new, contraction(layout, [held[k] for k in chosen], list(chosen.values()), without)
