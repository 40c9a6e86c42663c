"""The pass over a trace at once, or in a few large pieces, as a GPU wants it: a loop over entries serialises it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from .algebra import Passed
from .one_pass import Operands, Pass, advanced

PIECE = 1 << 30
"""Bytes of a trace that are advanced at once: so many that launches take no time beside them, and no more, since as
many are held beside them."""
OF_MEMBERS = 0, 0, 1, 1, 0
"""Of each operand the axis along which members lie."""


def in_pieces(of: Pass, placed: Operands) -> Passed:
    """The new trace and the contraction."""
    weight = of.sweep.site.weight.value.type
    if of.members is not None:
        one = Pass(of.algebra, of.sweep)
        run = jax.vmap(lambda *own: in_pieces(one, Operands(*own)), OF_MEMBERS)
        read = jnp.zeros((of.members, *weight.shape), weight.dtype)
        return _in_turn(run, placed, OF_MEMBERS, of.members, read, _put)
    read = jnp.zeros(weight.shape, weight.dtype)
    count = of.sweep.placement.sizes[of.batch] if of.batch else 1
    run = lambda *own: advanced(of, Operands(*own))  # noqa: E731
    return _in_turn(run, placed, _axes(of), count, read, lambda total, more, _: total + more)


def _axes(of: Pass) -> Sequence[int | None]:
    """Of each operand the axis along which entries lie; None where it has none."""
    axis, layout, data = of.batch, of.sweep.placement, of.sweep.data_labels
    if not axis:
        return [None] * len(OF_MEMBERS)
    own = of.algebra.along(of.sweep, axis)
    return [
        layout.trace.index(axis),
        own,
        layout.output.index(axis) + 1,
        data.index(axis) + 1 if axis in data else None,
        own,
    ]


def _in_turn(
    run: Callable[..., Passed],
    placed: Operands,
    axes: Sequence[int | None],
    count: int,
    nothing: Any,
    joined: Callable[[Any, Any, Any], Any],
) -> Passed:
    """`run` of `count` entries, as many at a time as make a piece; contractions `joined` to `nothing`."""
    at_once = max(1, count * PIECE // max(1, placed.nbytes))
    if at_once >= count:
        return run(*placed)

    def turn(at: Any, size: int, now: Passed) -> Passed:
        whole, total = now
        parts = zip(placed._replace(held=whole), axes, strict=True)
        own = (jax.tree.map(lambda x, axis=axis: _cut(x, axis, at, size), part) for part, axis in parts)
        new, read = jax.lax.optimization_barrier(run(*own))
        return _put(whole, new, at, axes[0]), None if read is None else joined(total, read, at)

    full, rest = divmod(count, at_once)
    start = placed.held, None if placed.cotangents is None else nothing
    found = jax.lax.fori_loop(0, full, lambda k, now: turn(k * at_once, at_once, now), start)
    return turn(full * at_once, rest, found) if rest else found


def _cut(x: Any, axis: int | None, at: Any, size: int) -> Any:
    """Some entries of an array along an axis; all of it where it has one for all."""
    return x if axis is None or x.shape[axis] == 1 else jax.lax.dynamic_slice_in_dim(x, at, size, axis)


def _put(whole: Any, parts: Any, at: Any, axis: int | None = 0) -> Any:
    """Arrays with entries along an axis replaced."""
    return jax.tree.map(lambda x, part: jax.lax.dynamic_update_slice_in_dim(x, part, at, axis or 0), whole, parts)
