"""Weights that are made of others, used by samples and by outer products: exact under d_rtrl."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt

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


@pytest.mark.parametrize("name", MODELS)
def test_d_rtrl_is_bptt(name: str):
    step, weights, held = MODELS[name]
    with jax.enable_x64(True):
        keys = iter(jax.random.split(jax.random.key(0), len(weights) + 1))
        params = {path: jax.random.normal(next(keys), shape) for path, shape in weights.items()}
        states = {path: jnp.full(shape, 0.1) for path, shape in held.items()}
        xs = jax.random.normal(next(keys), (T, B, N))

        learner, found = beside_bptt(step, params, states, xs)
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10
