"""Weights that are made of others, used by samples and by outer products: exact under d_rtrl."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from oracles import by_path, relative_error

import etir

B, N, T = 3, 4, 5


def weight_norm(p: Any, s: Any, x: jax.Array) -> Any:
    h = 0.8 * s["h"] + jnp.tanh(x @ (p["g"] * p["w"] / jnp.linalg.norm(p["w"], axis=0)))
    return {"h": h}, h


def spectral_norm(p: Any, s: Any, x: jax.Array) -> Any:
    """By three power iterations, the derivative through them included."""
    w, u = p["w"], jnp.ones(N)
    for _ in range(3):
        v = w.T @ u / jnp.linalg.norm(w.T @ u)
        u = w @ v / jnp.linalg.norm(w @ v)
    h = 0.8 * s["h"] + jnp.tanh(x @ (w / (u @ w @ v)))
    return {"h": h}, h


def fast_weights(p: Any, s: Any, x: jax.Array) -> Any:
    """A matrix that outer products of two products are added to, each synapse by its own rate."""
    fast = 0.9 * s["fast"] + jnp.einsum("bi,bj,ij->bij", x @ p["w"], x @ p["v"], p["rate"])
    return {"fast": fast}, jnp.einsum("bi,bij->bj", x @ p["q"], fast)


def ensemble(p: Any, s: Any, x: jax.Array) -> Any:
    h = jax.vmap(lambda w, b, h: 0.8 * h + jnp.tanh(x @ w + b))(p["ws"], p["bs"], s["hs"])
    return {"hs": h}, h


MODELS: dict[str, tuple[Callable[..., Any], dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]] = {
    "weight norm": (weight_norm, {"w": (N, N), "g": (N,)}, {"h": (B, N)}),
    "spectral norm": (spectral_norm, {"w": (N, N)}, {"h": (B, N)}),
    "fast weights": (fast_weights, dict.fromkeys(("w", "v", "q", "rate"), (N, N)), {"fast": (B, N, N)}),
    "ensemble": (ensemble, {"ws": (2, N, N), "bs": (2, N)}, {"hs": (2, B, N)}),
}


def loss(y: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(y))


@pytest.mark.parametrize("name", MODELS)
def test_d_rtrl_is_bptt(name: str):
    step, weights, held = MODELS[name]
    with jax.enable_x64(True):
        keys = iter(jax.random.split(jax.random.key(0), len(weights) + 1))
        params = {path: jax.random.normal(next(keys), shape) for path, shape in weights.items()}
        states = {path: jnp.full(shape, 0.1) for path, shape in held.items()}
        xs = jax.random.normal(next(keys), (T, B, N))

        def total(params: Any) -> jax.Array:
            def body(states: Any, x: jax.Array) -> Any:
                states, y = step(params, states, x)
                return states, loss(y)

            return jax.lax.scan(body, states, xs)[1].sum()

        learner = etir.compile(step, params, states, xs[0], sites="auto")
        assert {entry.label for entry in learner.certificate} == {"exact"}
        found = by_path(learner.grad(loss)(params, learner.init(), xs).grads)
        wanted = by_path(jax.grad(total)(params))
        assert max(relative_error(found[path], wanted[path]) for path in wanted) < 1e-10
