"""Factored traces by hand, in plain JAX: `pp_prop` with steps of one, as etir and as braintrace read it.

    y = data(s, x) W,   s' = hidden(s, y),   D = ds'/ds,   f = ds'/dy,   X' = a X + data,   F' = a D F + (1 - a) f

A layer has one state and one weight; `W` is [i, n], `s` is [B, n]; a gradient is that of the sum of losses over T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array
DECAY = 0.9
BLOCK = 16
"""Steps whose weight products are one; a sequence is a multiple of them long, or shorter."""


class Layer(NamedTuple):
    """A layer's two halves, and the loss of one step."""

    data: Callable[[Array, Array], Array]
    hidden: Callable[[Array, Array], Array]
    loss: Callable[[Array, Array], Array]

    def step(self, matmul: Callable[[Array, Array], Array], params: Any, states: Any, x: Array) -> tuple[Any, Array]:
        """One step as a model function; `params` is `{"w": W}`, `states` is `{"s": s}`, the output is the new `s`."""
        s = self.hidden(states["s"], matmul(self.data(states["s"], x), params["w"]))
        return {"s": s}, s


class Factors(NamedTuple):
    """`F` [B, n] and `X` [B, i], and how much a mean of so many steps weighs: `1 - a^t`."""

    rows: Array
    column: Array
    weight: Array


class Here(NamedTuple):
    """One step: its data, the loss's cotangents of `y`, of the old state and of the new one, and `D` and `f`."""

    data: Array
    direct: Array
    entering: Array
    leaving: Array
    jacobian: Array
    sensitivity: Array


def no_factors(w: Array, s: Array) -> Factors:
    """Traces of nothing."""
    return Factors(jnp.zeros_like(s), jnp.zeros((*s.shape[:-1], w.shape[0]), w.dtype), jnp.zeros((), w.dtype))


def linearised(layer: Layer, w: Array, s: Array, x: Array, target: Array, full: bool) -> tuple[Array, Here]:
    """The new state, and the step's derivatives; `full` sends credit to the old state through the weight as well."""
    data, back = jax.vjp(lambda s: layer.data(s, x), s)
    new, pull = jax.vjp(layer.hidden, s, data @ w)
    D, f = pull(jnp.ones_like(s))
    leaving = jax.grad(layer.loss)(new, target)
    direct = f * leaving
    entering = D * leaving + (back(direct @ w.T)[0] if full else 0.0)
    return new, Here(data, direct, entering, leaving, D, f)


def _rows(F: Array, here: Here) -> Array:
    return DECAY * here.jacobian * F + (1 - DECAY) * here.sensitivity


def entry_step(layer: Layer, w: Array, s: Array, old: Factors, x: Array, target: Array, full: bool) -> Any:
    """One step of `at_entry`: the gradient of its loss, the new state, and the new traces."""
    new, here = linearised(layer, w, s, x, target, full)
    gradient = here.data.T @ here.direct + old.column.T @ (old.rows * here.entering)
    return gradient, new, Factors(_rows(old.rows, here), DECAY * old.column + here.data, old.weight)


def exit_step(layer: Layer, w: Array, s: Array, old: Factors, x: Array, target: Array) -> Any:
    """One step of `at_exit`: the gradient of its loss, the new state, and the new traces."""
    new, here = linearised(layer, w, s, x, target, False)
    now = Factors(_rows(old.rows, here), DECAY * old.column + here.data, DECAY * old.weight + (1 - DECAY))
    return now.column.T @ (now.rows * here.leaving / now.weight), new, now


def at_entry(layer: Layer, w: Array, s: Array, xs: Array, ts: Array, *, full: bool) -> Array:
    """`sum_t data (x) y_bar + X (x) (F s_bar)`, read with what enters a step: etir's `full`, or its `rule`.

    A block of steps takes one product for both terms: `X` is a filtered sum of the data, so its cotangent, filtered
    backwards, is added to that of the data.
    """
    steps = min(BLOCK, len(xs))
    ages = np.arange(steps)[None, :] - np.arange(steps)[:, None] - 1
    later = jnp.asarray(np.where(ages >= 0, DECAY ** np.maximum(ages, 0.0), 0.0), w.dtype)
    left = jnp.asarray(DECAY ** np.arange(steps), w.dtype)

    def body(carry: tuple[Array, Array], xt: tuple[Array, Array]) -> tuple[Any, Any]:
        new, here = linearised(layer, w, carry[0], *xt, full)
        return (new, _rows(carry[1], here)), (here.data, here.direct, carry[1] * here.entering)

    def block(carry: tuple[Array, Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        s, F, X, total = carry
        (s, F), (data, direct, past) = lax.scan(body, (s, F), xt)
        total = total + jnp.einsum("tbi,tbj->ij", data, direct + jnp.einsum("st,tbj->sbj", later, past))
        total = total + X.T @ jnp.einsum("t,tbj->bj", left, past)
        X = DECAY**steps * X + jnp.einsum("t,tbi->bi", left[::-1], data)
        return (s, F, X, total), None

    start = no_factors(w, s)
    return lax.scan(block, (s, start.rows, start.column, jnp.zeros_like(w)), _blocks(xs, ts))[0][3]


def at_exit(layer: Layer, w: Array, s: Array, xs: Array, ts: Array) -> Array:
    """`sum_t X' (x) (F' s'_bar) / (1 - a^t)`, read with what leaves a step: braintrace's. One product a block."""

    def body(carry: tuple[Array, Factors], xt: tuple[Array, Array]) -> tuple[Any, Any]:
        s, old = carry
        new, here = linearised(layer, w, s, *xt, False)
        now = Factors(_rows(old.rows, here), DECAY * old.column + here.data, DECAY * old.weight + (1 - DECAY))
        return (new, now), (now.column, now.rows * here.leaving / now.weight)

    def block(carry: tuple[Any, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        inner, rows = lax.scan(body, carry[0], xt)
        return (inner, carry[1] + jnp.einsum("tbi,tbj->ij", *rows)), None

    return lax.scan(block, ((s, no_factors(w, s)), jnp.zeros_like(w)), _blocks(xs, ts))[0][1]


def _blocks(*arrays: Array) -> tuple[Array, ...]:
    return tuple(a.reshape(-1, min(BLOCK, len(a)), *a.shape[1:]) for a in arrays)
