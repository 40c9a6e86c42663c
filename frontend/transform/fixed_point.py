"""Where an iteration comes to rest, with the derivative of that place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def fixed_point(
    function: Callable[[PyTree], PyTree], start: PyTree, *, tolerance: float | None = None, trips: int = 1000
) -> PyTree:
    """The `x` with `x = function(x)` that iteration from `start` comes to; a `while` loop that has a derivative.

    The iteration ends where no entry changes by more than `tolerance`, relative to one or to the entry, by default four
    units in the last place; or after so many `trips`. That it converges is the caller's word. The derivative is that of
    the fixed point, by the implicit function theorem, and found by an iteration of the same kind: it passes to all that
    `function` closes over, and not to `start`.
    """
    # Not jax.lax.custom_root: since JAX 0.12 what it does is hidden in a primitive of its own.
    closed, over = jax.closure_convert(function, start)

    def residual(x: PyTree, over: list[Any]) -> PyTree:
        return jax.tree.map(jnp.subtract, closed(x, *over), x)

    @jax.custom_jvp
    def rest(start: PyTree, over: list[Any]) -> PyTree:
        return _iterated(lambda x: residual(x, over), start, tolerance, trips)

    @rest.defjvp
    def derivative(primals: Any, tangents: Any) -> tuple[PyTree, PyTree]:
        x, over = rest(*primals), primals[1]
        _, moved = jax.jvp(lambda over: residual(x, over), (over,), (tangents[1],))

        def linear(v: PyTree) -> PyTree:
            return jax.jvp(lambda x: residual(x, over), (x,), (v,))[1]

        def solve(product: Callable[[PyTree], PyTree], side: PyTree) -> PyTree:
            return _iterated(lambda v: jax.tree.map(jnp.subtract, product(v), side), side, tolerance, trips)

        side = jax.tree.map(jnp.negative, moved)
        return x, jax.lax.custom_linear_solve(linear, side, solve, transpose_solve=solve)

    return rest(start, over)


def _iterated(step: Callable[[PyTree], PyTree], first: PyTree, tolerance: float | None, trips: int) -> PyTree:
    """`x` moved on by `step(x)` until that is small."""

    def moves(carry: tuple[Any, PyTree, PyTree]) -> jax.Array:
        count, x, by = carry
        large = [
            jnp.any(jnp.abs(d) > _allowed(v, tolerance)) for v, d in zip(*map(jax.tree.leaves, (x, by)), strict=True)
        ]
        return (count < trips) & jnp.any(jnp.stack(large))

    def moved(carry: tuple[Any, PyTree, PyTree]) -> tuple[Any, PyTree, PyTree]:
        count, x, by = carry
        x = jax.tree.map(jnp.add, x, by)
        return count + 1, x, step(x)

    return jax.lax.while_loop(moves, moved, (0, first, step(first)))[1]


def _allowed(x: jax.Array, tolerance: float | None) -> jax.Array:
    limit = 4 * jnp.finfo(x.dtype).eps if tolerance is None else tolerance
    return limit * jnp.maximum(1, jnp.abs(x))
