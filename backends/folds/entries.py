"""The pass over a trace, one entry of its first axis after the other, as a CPU wants it: in cache, and in place.

The barriers keep XLA from copying the whole trace.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp

from ...ir.plan.placement import as_type_of
from ..loops import count_up, in_turn
from .algebra import Held, Passed
from .one_pass import Operands, Pass, advanced
from .tape import put, taken


def entry_by_entry(of: Pass, placed: Operands, sent: Any = None, waits: Any = None) -> Passed:
    """The new trace and the contraction, of a trace that has a batch axis.

    `sent` are cotangents of the site's output, `[time, *output]`, of a pass that takes its own product: that with the
    data is added to the contraction. Where it can be one product makes all that an entry takes, and the data are
    transposed once. The trace stays as it was where `waits` is given and true.
    """
    algebra, sweep, axis = of.algebra, of.sweep, of.batch
    layout, (held, pairs, factors, data, chosen) = sweep.placement, placed
    place = layout.trace.index(axis)
    output = layout.output.index(axis)
    of_data = sweep.data_labels
    own_output = sweep.site.expression.output.index(axis)
    lines: Any = None
    if of.is_product and data is not None:
        lines = jax.lax.optimization_barrier(jnp.moveaxis(data, (of_data.index(axis) + 1, 0), (0, -1)))

    def entry(b: jax.Array, carry: tuple[Held, Any]) -> tuple[Held, Any]:
        whole, read = carry
        pick = lambda x, at: taken(x, b, at)  # noqa: E731
        own = Operands(
            {k: pick(e, place) for k, e in whole.items()},
            {p: algebra.entry(sweep, x, axis, b) for p, x in pairs.items()},
            {k: pick(x, output + 1) for k, x in factors.items()},
            pick(data, of_data.index(axis) + 1) if axis in of_data else data,
            None if chosen is None else {k: algebra.entry(sweep, x, axis, b) for k, x in chosen.items()},
        )
        if lines is None:
            new, more = advanced(of, own, axis)
        else:
            rows = {k: x for k, x in own.factors.items() if k in whole}
            sends = [] if sent is None else [pick(sent, own_output + 1)]
            made = _products(pick(lines, 0), [*rows.values(), *sends])
            new, more = advanced(of, own, axis, dict(zip(rows, made[: len(rows)], strict=True)))
            more = sum((as_type_of(product, weight.dtype) for product in made[len(rows) :]), start=more)
        new, read = jax.lax.optimization_barrier((new, None if more is None else read + more))
        updated = {k: jax.lax.dynamic_update_index_in_dim(whole[k], new[k], b, place) for k in whole}
        return updated, read

    weight = sweep.site.weight.value.type
    start, count = None if chosen is None else jnp.zeros(weight.shape, weight.dtype), layout.sizes[axis]
    if waits is None:
        return jax.lax.fori_loop(0, count, entry, (held, start))

    def left(b: jax.Array, carry: tuple[Held, Any]) -> tuple[Held, Any]:
        whole, read = carry
        more = contracted_entry(of, placed._replace(held=whole), b)
        if sent is not None:
            (product,) = _products(taken(lines, b), [taken(sent, b, own_output + 1)])
            more = more + as_type_of(product, weight.dtype)
        # Were it seen that the trace stays, it would be converted whole before the loop, where it is narrow.
        return jax.lax.optimization_barrier((whole, read + more))

    found = count_up(0, jnp.where(waits, 0, count), entry, (held, start))
    return count_up(0, jnp.where(waits, count, 0), left, found)


def read_first(of: Pass, placed: Operands) -> Passed:
    """The pass over a trace whose data are picked: its entries are contracted one after the other, then all advanced.

    What steps add to an entry is no product of matrices: XLA advances the trace in place by itself, on all cores.
    """
    if placed.cotangents is None:
        return advanced(of, placed)
    held, read = jax.lax.optimization_barrier((placed.held, contracted(of, placed)))
    return advanced(of, placed._replace(held=held, cotangents=None))[0], read


def contracted(of: Pass, placed: Operands) -> Any:
    """The contraction alone, of a trace that has a batch axis."""
    weight, count = of.sweep.site.weight.value.type, of.sweep.placement.sizes[of.batch]
    start = jnp.zeros(weight.shape, weight.dtype)
    return in_turn(lambda b, total: total + contracted_entry(of, placed, b), count, start)


def contracted_entry(of: Pass, placed: Operands, b: Any) -> Any:
    """The contraction of one of the batch's entries."""
    algebra, sweep, axis, chosen = of.algebra, of.sweep, of.batch, placed.cotangents
    assert chosen is not None
    place = sweep.placement.trace.index(axis)
    whole = {k: taken(e, b, place) for k, e in placed.held.items()}
    credit = {k: algebra.entry(sweep, x, axis, b) for k, x in chosen.items()}
    return algebra.passed(sweep, whole, {}, credit, axis)[1]


def _products(lines: Any, rows: list[Any]) -> list[Any]:
    """The products of data `[*data, time]` with arrays `[time, *output]`: one product of those of one element type."""
    found = dict[int, Any]()
    for dtype in dict.fromkeys(x.dtype for x in rows):
        chosen = [k for k, x in enumerate(rows) if x.dtype == dtype]
        flat = [rows[k].reshape(len(rows[k]), -1) for k in chosen]
        whole = jnp.tensordot(lines, jnp.concatenate(flat, -1), 1)
        cuts = list(accumulate(x.shape[1] for x in flat))[:-1]
        for k, part in zip(chosen, jnp.split(whole, cuts, -1), strict=True):
            found[k] = part.reshape(*lines.shape[:-1], *rows[k].shape[1:])
    return [found[k] for k in range(len(rows))]


def member_by_member(of: Pass, placed: Operands) -> Passed:
    """The pass, one member after the other, and of each large one an entry of the batch axis after the other."""
    algebra, sweep = of.algebra, of.sweep
    layout, (held, pairs, factors, data, chosen) = sweep.placement, placed
    axis = of.batch if of.is_large(placed) else ""
    weight, entries = sweep.site.weight.value.type, layout.sizes[axis] if axis else 1
    in_data = bool(axis) and layout.data is not None and axis in layout.data
    assert of.members is not None

    def entry(at: jax.Array, carry: tuple[Held, Any]) -> tuple[Held, Any]:
        whole, read = carry
        count = jnp.asarray(entries, at.dtype)
        member, b = jax.lax.div(at, count), jax.lax.rem(at, count)

        def pick(x: jax.Array, labels: str, lead: int = 0, inside: bool = True) -> jax.Array:
            x = taken(x, member, lead)
            place = labels.index(axis) + lead if axis and inside else None
            return x if place is None else taken(x, b, place)

        jacobians = {p: taken(x, member) for p, x in pairs.items()}
        own = Operands(
            {k: pick(e, layout.trace) for k, e in whole.items()},
            {p: algebra.entry(sweep, x, axis, b) for p, x in jacobians.items()} if axis else jacobians,
            {k: pick(x, layout.output, 1) for k, x in factors.items()},
            None if data is None else pick(data, layout.data or "", 1, in_data),
            None if chosen is None else {k: pick(x, layout.output) for k, x in chosen.items()},
        )
        new, more = jax.lax.optimization_barrier(advanced(of, own, axis))
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

    start = None if chosen is None else jnp.zeros((of.members, *weight.shape), weight.dtype)
    return jax.lax.fori_loop(0, of.members * entries, entry, (held, start))
