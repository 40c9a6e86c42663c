"""Loops of programs that have no derivative of their own, and loops that add up, several turns of them as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

AT_ONCE = 8
"""Turns that one pass over a sum makes: so many that it is seldom read again, so few that they compile fast."""


def count_up(first: Any, stop: Any, body: Callable[[Any, Any], Any], start: Any) -> Any:
    """`jax.lax.fori_loop`, without a derivative and with one counter; it has two, which XLA takes passes to join.

    A single turn is no loop: so arrays that it only reads are not copied.
    """

    def turn(now: tuple[Any, Any]) -> tuple[Any, Any]:
        k, given = now
        return k + 1, body(k, given)

    if isinstance(first, int) and isinstance(stop, int) and stop - first == 1:
        return body(first, start)
    begun = jnp.asarray(first, jnp.result_type(first, stop))
    return jax.lax.while_loop(lambda now: now[0] < stop, turn, (begun, start))[1]


def count_down(count: Any, body: Callable[[Any, Any], Any], start: Any) -> Any:
    """The turns of `count_up` from the last to the first: what `body(k, ...)` writes at `k + 1` is at the counter.

    The carry is held the other way round. XLA numbers a kernel's operands as it comes to them from a loop's first
    results; from the credit of the last of many layers it comes to each of them alike, and compiles them once.
    """
    leaves, tree = jax.tree.flatten(start)

    def turn(now: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        k, given = now[0] - 1, jax.tree.unflatten(tree, now[1][::-1])
        return k, jax.tree.leaves(body(k, given))[::-1]

    begun = jnp.asarray(count, jnp.result_type(count))
    _, found = jax.lax.while_loop(lambda now: now[0] > 0, turn, (begun, leaves[::-1]))
    return jax.tree.unflatten(tree, found[::-1])


def in_turn(add: Callable[[Any, Any], Any], count: int, total: Any, at_once: int = AT_ONCE) -> Any:
    """A loop of `total = add(k, total)`, `at_once` turns of it as one."""

    def some(first: Any, total: Any, turns: int) -> Any:
        for k in range(turns):
            total = add(first + k, total)
        return total

    groups, rest = divmod(count, at_once)
    if groups == 1:
        total = some(0, total, at_once)
    elif groups:
        total = jax.lax.fori_loop(0, groups, lambda g, total: some(g * at_once, total, at_once), total)
    return some(groups * at_once, total, rest)
