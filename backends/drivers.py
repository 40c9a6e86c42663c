"""Loops over windows: a scan that cuts sequences, and training with an update at the end of each window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .calls import Arrays

Body = Callable[[Any, Any, int], tuple[Any, Any]]
"""`(carry, arrays of one window, its steps) -> (carry, results with a leading time axis)`."""

Enter = Callable[[Any, int], Any]
"""`(carry, steps) -> carry`."""


Windowed = Callable[..., Any]
"""Of one window: `(params, states, traces, inputs, signals, targets) -> (gradients, losses, states, traces, aux)`."""

Update = Callable[[Arrays, Any, Arrays], tuple[Arrays, Any]]
"""`(gradients, what updates carry, params) -> (params, what updates carry)`."""


def scan_windows(
    body: Body, enter: Enter, carry: Any, arrays: Any, length: int, window: int, in_place: bool = False
) -> tuple[Any, Any]:
    """Run `body` window by window over `arrays`, whose leading axis is `length` steps of time; the last may be shorter.

    `enter` makes the carry that windows of so many steps take and return, of one that others have returned.
    `in_place` reads whole windows where they lie even if a shorter one follows, instead of from a copy: slow to
    differentiate by `arrays`.

    Returns the last carry and the results of all steps.
    """
    whole, rest = divmod(length, window)
    pieces: list[Any] = []
    for start, count, size in ((0, whole, window), (whole * window, 1, rest)):
        if count * size == 0:
            continue

        def one(now: Any, x: Any, size: int = size) -> tuple[Any, Any]:
            return body(now, x, size)

        carry = enter(carry, size)
        steps = arrays if in_place and count > 1 else steps_of(arrays, start, start + count * size)
        carry, found = scan_pieces(one, carry, steps, count, size)
        pieces.append(jax.tree.map(merged, found))
    return carry, jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


def scan_pieces(body: Callable[[Any, Any], Any], carry: Any, arrays: Any, count: int, size: int) -> tuple[Any, Any]:
    """`jax.lax.scan` of `body` over the first `count` pieces of arrays, `[size, ...]` each.

    Arrays of more than `count * size` entries are read where they lie: nothing is copied. And the loop never slices
    arrays with an axis of size one: XLA, as of JAX 0.10, holds a copy of those beside it.
    """
    if any(len(a) > count * size for a in jax.tree.leaves(arrays)):

        def piece(now: Any, k: Any) -> tuple[Any, Any]:
            return body(now, jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, k * size, size), arrays))

        return jax.lax.scan(piece, carry, jnp.arange(count))
    if count == 1:
        return jax.lax.scan(lambda now, _: body(now, arrays), carry, None, length=1)
    if size == 1:
        return jax.lax.scan(lambda now, x: body(now, jax.tree.map(lambda a: a[None], x)), carry, arrays, length=count)
    cut = jax.tree.map(lambda a: a.reshape(count, size, *a.shape[1:]), arrays)
    return jax.lax.scan(body, carry, cut, length=count)


def steps_of(arrays: Any, start: int, stop: int) -> Any:
    """The entries of the leading axis from `start` up to `stop`."""
    return jax.tree.map(lambda a: jnp.asarray(a)[start:stop], arrays)


def merged(array: jax.Array) -> jax.Array:
    """`[a, b, ...]` as `[a * b, ...]`, whatever is of size zero."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def train_by_windows(
    gradient: Windowed,
    update: Update,
    ready: Enter,
    carry: tuple[Arrays, Any, Arrays, Any],
    arrays: tuple[Arrays, Arrays, Any],
    window: int,
) -> tuple[Any, jax.Array, Any]:
    """Update the parameters at the end of every window, inside one scan.

    Args:
        gradient: of one window.
        update: at a window's end.
        ready: the traces in the form that windows of so many steps take and return.
        carry: parameters, optimizer's state, states and traces.
        arrays: inputs, signals and targets, with a leading time axis.
        window: steps between updates.

    Returns:
        The carry after the last step, the losses, and the auxiliary results.
    """

    def body(now: Any, xt: Any, steps: int) -> tuple[Any, Any]:
        del steps
        params, opt_state, states, traces = now
        grads, losses, states, traces, aux = gradient(params, states, traces, *xt)
        params, opt_state = update(grads, opt_state, params)
        return (params, opt_state, states, traces), (losses, aux)

    def enter(now: Any, steps: int) -> Any:
        return (*now[:3], ready(now[3], steps))

    length = jax.tree.leaves(arrays)[0].shape[0]
    now, (losses, aux) = scan_windows(body, enter, carry, arrays, length, window, in_place=True)
    return now, losses, aux


def counted_windows(
    gradient: Windowed,
    update: Update,
    ready: Enter,
    carry: Any,
    steps: tuple[Any, int, int],
    window: int,
    count: Any,
) -> tuple[Any, jax.Array, Any]:
    """Update at the end of every window, each of which gives the same bits however many there are.

    How many there are only the running program knows: XLA compiles a loop whose length it does not know, however short,
    as it compiles a long one, and mixes nothing of what is in it with what is around it. What a window reads, and what
    it leaves beside the carry, is held apart from arrays of all steps: were there one window, it would be the same at
    every turn, and XLA would compute with it before the loop.

    Args:
        gradient: of one window.
        update: at a window's end.
        ready: the traces in the form that windows of so many steps take and return.
        carry: parameters, what updates carry, states and traces.
        steps: arrays with a leading time axis, the first step of them and the one after the last: whole windows.
        window: steps of a window.
        count: the windows that are run, the first ones; an argument of the compiled program.

    Returns:
        The carry after the last window, the losses, and the auxiliary results, zero of windows that are not run.
    """
    _, start, stop = steps

    def one(now: Any, xt: Any) -> tuple[Any, Any]:
        params, own, states, traces = now
        grads, losses, states, traces, aux = gradient(params, states, traces, *xt)
        return (*update(grads, own, params), states, traces), (losses, aux)

    now = (*carry[:3], ready(carry[3], window))
    now, found = counted(one, now, steps, window, count)
    return (now if stop > start else carry), *found


def counted(
    body: Callable[[Any, Any], Any], carry: Any, steps: tuple[Any, int, int], size: int, count: Any
) -> tuple[Any, Any]:
    """`body` of the first `count` pieces, `[size, ...]` each, of arrays from one step up to another.

    Its results are of all these steps, zeros of those that are not taken.
    """
    arrays, start, stop = steps
    piece = jax.tree.map(lambda a: jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype), arrays)
    kinds = jax.eval_shape(body, carry, piece)[1]
    found = jax.tree.map(lambda x: jnp.zeros((stop - start, *x.shape[1:]), x.dtype), kinds)
    if start == stop:
        return carry, found

    def apart(tree: Any, k: Any) -> Any:
        return jax.lax.optimization_barrier((tree, k))[0]

    def one(k: Any, given: Any) -> Any:
        now, found = given
        xt = jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, start + k * size, size), arrays)
        now, new = body(now, apart(xt, k))
        new, put = apart(new, k), jax.lax.dynamic_update_slice_in_dim
        return now, jax.tree.map(lambda whole, part: put(whole, part, k * size, 0), found, new)

    return jax.lax.fori_loop(0, count, one, (carry, found))
