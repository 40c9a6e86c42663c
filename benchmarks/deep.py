"""Models that are large in equations and small in numbers, for compile time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Array = jax.Array
Matmul = Callable[[Array, Array], Array]
Step = Callable[[Any, Any, Array], tuple[Any, Array]]
WIDTH = 8


def tail_model(
    weights: int, equations: int = 1000, matmul: Matmul = jnp.matmul, *, summed: bool
) -> tuple[Step, Any, Any, Array]:
    """A step with `weights` weights before a tail of `equations` element-wise equations, and example values.

    The products of the input with the weights enter the tail as one sum, or, where not `summed`, each at its own place.
    The state meets only its own element, so D-RTRL is exact. States and inputs have the shape [2, WIDTH].
    """

    def step(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
        h = states["h"]
        products = [matmul(x, w) for w in params["w"]]
        entering = [sum(products[1:], products[0])] if summed else products
        new = h
        for i in range(equations // 4):
            new = jnp.tanh(0.9 * new + entering[i % len(entering)] * (0.1 + i / equations))
        return {"h": new}, new

    keys = jax.random.split(jax.random.key(0), weights)
    params = {"w": [jax.random.normal(k, (WIDTH, WIDTH)) * 0.1 for k in keys]}
    return step, params, {"h": jnp.zeros((2, WIDTH))}, jnp.ones((2, WIDTH))


def chain_model(equations: int, sites: int = 10, matmul: Matmul = jnp.matmul) -> tuple[Step, Any, Any, Array]:
    """A step of `sites` products, each followed by its share of `equations`, and example values; shapes [4]."""

    def step(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
        h, y = states["h"], x
        for w in params["w"]:
            h = h + matmul(y, w)
            for _ in range(equations // sites // 2):
                h = jnp.tanh(h) * 0.9
            y = h
        return {"h": h}, h

    return step, {"w": [0.3 * jnp.eye(4)] * sites}, {"h": jnp.zeros(4)}, jnp.ones(4)


def stacked_model(layers: int, matmul: Matmul = jnp.matmul) -> tuple[Step, Any, Any, Array]:
    """A stack of tanh layers, each with its own weight and state, and example values; shapes [2, WIDTH]."""

    def step(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
        new: list[Array] = []
        for w, h in zip(params["w"], states["h"], strict=True):
            x = jnp.tanh(matmul(jnp.concatenate([x, h], -1), w))
            new.append(x)
        return {"h": new}, x

    keys = jax.random.split(jax.random.key(0), layers)
    params = {"w": [jax.random.normal(k, (2 * WIDTH, WIDTH)) * 0.3 for k in keys]}
    return step, params, {"h": [jnp.zeros((2, WIDTH))] * layers}, jnp.ones((2, WIDTH))


def loss(y: Array, target: Array) -> Array:
    """The squared distance to the target."""
    return jnp.sum((y - target) ** 2)


def bptt(step: Step) -> Callable[..., Any]:
    """The gradient of the summed loss, `jax.grad` of a scan, as `(params, states, xs, ts) -> gradients`."""

    def total(params: Any, states: Any, xs: Array, ts: Array) -> Array:
        def body(states: Any, xt: tuple[Array, Array]) -> tuple[Any, Array]:
            states, y = step(params, states, xt[0])
            return states, loss(y, xt[1])

        return jax.lax.scan(body, states, (xs, ts))[1].sum()

    return jax.grad(total)
