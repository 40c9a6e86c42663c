"""A leaky network that counts its steps, and sequences of any length: for tests of how these are driven."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

import etir

OPTIMIZER = optax.adam(0.05)
PARAMS = {
    "W": 0.5 * jax.random.normal(jax.random.key(3), (3, 4)),
    "U": 0.3 * jax.random.normal(jax.random.key(4), (4, 4)),
    "readout": 0.5 * jax.random.normal(jax.random.key(5), (4, 3)),
}
STATES = {"h": jnp.full((2, 4), 0.1), "steps": jnp.int32(0)}


def step(params: Any, states: Any, x: Any) -> Any:
    drive = etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"])
    h = 0.9 * states["h"] + 0.1 * jnp.tanh(drive)
    return {"h": h, "steps": states["steps"] + 1}, h @ params["readout"]


def loss(y: Any, target: Any) -> Any:
    """The squared error of a step, and its outputs."""
    return jnp.mean((y - target) ** 2), y


def sequences(length: int) -> tuple[Any, Any]:
    """Inputs and targets."""
    one, two = (jax.random.normal(jax.random.key(k), (length, 2, 3)) for k in (1, 2))
    return one, two
