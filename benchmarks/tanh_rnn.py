"""A small tanh RNN without a batch, and its exact gradient by RTRL written by hand with `jax.jacfwd`.

h' = tanh([x, h] W),   loss = |h' - target|^2,   W of shape [inputs + n, n], `xs` [T, inputs], `ts` [T, n]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array


class Data(NamedTuple):
    """Weights and sequences: `w` [inputs + n, n], `h` [n], `xs` [T, inputs], `ts` [T, n], all float32."""

    w: Array
    h: Array
    xs: Array
    ts: Array


def make_data(n: int, steps: int, inputs: int = 64, seed: int = 0) -> Data:
    """Random weights with a recurrence of spectral radius near one, random sequences."""
    rng = np.random.default_rng(seed)
    w = np.concatenate([rng.normal(size=(inputs, n)) / inputs**0.5, rng.normal(size=(n, n)) / n**0.5])
    sequences = rng.normal(size=(steps, inputs)), rng.normal(size=(steps, n))
    return Data(*(jnp.asarray(a, jnp.float32) for a in (w, np.zeros(n), *sequences)))


def step(params: Any, states: Any, x: Array, matmul: Callable[[Array, Array], Array] = jnp.matmul) -> tuple[Any, Array]:
    """One step as a model function; `params` is `{"w": W}`, `states` is `{"h": h}`, the output is the new `h`."""
    h = jnp.tanh(matmul(jnp.concatenate([x, states["h"]], -1), params["w"]))
    return {"h": h}, h


def loss(h: Array, target: Array) -> Array:
    """The squared distance to the target."""
    return jnp.sum((h - target) ** 2)


def _next(h: Array, w: Array, x: Array) -> Array:
    return step({"w": w}, {"h": h}, x)[1]


def bptt(w: Array, h: Array, xs: Array, ts: Array) -> Array:
    """The exact gradient of the summed loss: `jax.grad` of a scan."""

    def total(w: Array) -> Array:
        def body(h: Array, xt: tuple[Array, Array]) -> tuple[Array, Array]:
            h = _next(h, w, xt[0])
            return h, loss(h, xt[1])

        return lax.scan(body, h, (xs, ts))[1].sum()

    return jax.grad(total)(w)


def rtrl_jacfwd(w: Array, h: Array, xs: Array, ts: Array) -> Array:
    """The same gradient forwards: an influence dh/dw, [n, inputs + n, n], advanced by `jacfwd` at every step."""

    def body(carry: tuple[Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        h, influence, gradient = carry
        dh, dw = jax.jacfwd(_next, (0, 1))(h, w, xt[0])
        influence = jnp.tensordot(dh, influence, 1) + dw
        h = _next(h, w, xt[0])
        return (h, influence, gradient + jnp.tensordot(jax.grad(loss)(h, xt[1]), influence, 1)), None

    start = h, jnp.zeros((*h.shape, *w.shape), w.dtype), jnp.zeros_like(w)
    return lax.scan(body, start, (xs, ts))[0][2]
