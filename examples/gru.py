"""The demo's model: a gated recurrent unit as a plain step function, its weights in ETP operations."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

import etir


def gru(params: Any, states: Any, x: jax.Array) -> tuple[Any, jax.Array]:
    """One step, `(params, states, input) -> (new states, outputs)`: fused gates, and the reset after the product."""
    h = states["h"]
    xz, xr, xc = jnp.split(etir.matmul(x, params["W"], params["b"]), 3, axis=-1)
    hz, hr, hc = jnp.split(etir.matmul(h, params["U"]), 3, axis=-1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    h = z * h + (1 - z) * jnp.tanh(xc + r * hc)
    return {"h": h}, h @ params["readout"] + params["offset"]


def initial_params(key: jax.Array, *, inputs: int, units: int, outputs: int, cues: int, longest: int) -> Any:
    """Random weights; those of the first `cues` inputs are zero.

    Update gates begin with memories of 1 to `longest` steps (Tallec and Ollivier 2018, "Can recurrent neural networks
    warp time?").
    """
    of_w, of_u, of_b, of_readout = jax.random.split(key, 4)
    w = jax.random.normal(of_w, (inputs, 3 * units)) / jnp.sqrt(inputs)
    memory = jnp.log(jax.random.uniform(of_b, (units,), minval=1.0, maxval=longest))
    return {
        "W": w.at[:cues].set(0.0),
        "U": 0.5 * jax.random.normal(of_u, (units, 3 * units)) / jnp.sqrt(units),
        "b": jnp.zeros(3 * units).at[:units].set(memory),
        "readout": jax.random.normal(of_readout, (units, outputs)) / jnp.sqrt(units),
        "offset": jnp.zeros(outputs),
    }


def initial_states(batch: int, units: int) -> Any:
    """The state at rest."""
    return {"h": jnp.zeros((batch, units))}
