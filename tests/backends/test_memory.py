"""The driver's memory: one copy of each trace, and the history of one fold, whatever the sequence's length."""

import jax
import jax.numpy as jnp
import pytest

import etir
from etir.backends.xla.schedule import FOLD

BATCH, INPUTS, HIDDEN = 8, 64, 256
TRACE = BATCH * (INPUTS + HIDDEN) * HIDDEN * 4
HISTORY = FOLD * BATCH * 4 * (INPUTS + HIDDEN + 7 * HIDDEN)
"""Bytes of a fold in float32: data, Jacobians, sensitivities, cotangents of the site and of the states that enter
windows, the same where they arrive, carried factors, and later credit."""

GRADIENT = 2 * (INPUTS + HIDDEN) * HIDDEN * 4
"""Bytes of the gradient that is added up, and of what is added to it."""


def step(params, states, x):
    data = jnp.concatenate([x, jnp.tanh(states["v"])], -1)
    v = 0.9 * states["v"] + etir.matmul(data, params["w"])
    return {"v": v}, v


def loss(y, target):
    return jnp.sum((y - target) ** 2)


@pytest.mark.parametrize("window", [1, 16])
def test_a_donated_trace_is_advanced_in_place_in_memory_that_does_not_grow(window):
    params = {"w": jnp.full((INPUTS + HIDDEN, HIDDEN), 0.01, jnp.float32)}
    states = {"v": jnp.zeros((BATCH, HIDDEN), jnp.float32)}
    learner = etir.compile(step, params, states, jnp.zeros((BATCH, INPUTS), jnp.float32), window=window)
    carry = learner.init()

    def planned(length):
        xs = jax.ShapeDtypeStruct((length, BATCH, INPUTS), jnp.float32)
        ts = jax.ShapeDtypeStruct((length, BATCH, HIDDEN), jnp.float32)
        driver = learner.grad(loss)
        program = jax.jit(lambda c, x, t: driver(params, c, x, t), donate_argnums=0)
        return program.lower(carry, xs, ts).compile().memory_analysis()

    short, long = planned(2 * FOLD), planned(8 * FOLD)
    assert short.alias_size_in_bytes >= TRACE
    if window > 1:  # JAX 0.10 copies the trace where windows are single steps
        assert short.temp_size_in_bytes <= TRACE + HISTORY + GRADIENT
    longer_inputs = 6 * FOLD * BATCH * (INPUTS + HIDDEN) * 4  # JAX 0.10 copies the inputs, and nothing else that grows
    assert long.temp_size_in_bytes <= short.temp_size_in_bytes * 1.01 + longer_inputs
