"""Slots that are picked by a counter, read into what is written there: credit goes round with them."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt

SLOTS, UNITS, STEPS = 3, 4, 8


def ring(p: Any, s: Any, x: Any) -> Any:
    """A delayed recurrence, of a batch."""
    i = s["i"]
    h = 0.8 * s["h"] + 0.3 * p["a"] * s["buf"][:, i] + jnp.tanh(x @ p["W"])
    return {"h": h, "buf": s["buf"].at[:, i].set(h), "i": (i + 1) % SLOTS}, h


def delays(p: Any, s: Any, x: Any) -> Any:
    """A delay of each unit's own, and slots that fade and add up."""
    i = s["i"]
    ago = jnp.array([1, 2, 0, 1])
    late = jax.vmap(lambda line, k: line[(i - k) % SLOTS], (-1, 0), -1)(s["buf"].swapaxes(0, 1), ago)
    h = 0.8 * s["h"] + 0.3 * p["a"] * late + jnp.tanh(x @ p["W"])
    return {"h": h, "buf": (0.5 * s["buf"]).at[:, i % SLOTS].add(h), "i": i + 1}, h


@pytest.mark.parametrize("step", [ring, pytest.param(delays, marks=pytest.mark.slow)])
def test_a_delay_that_feeds_back_is_exact(step: Any):
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), 3)
        params = {"W": jax.random.normal(keys[0], (3, UNITS)), "a": jax.random.normal(keys[1], (UNITS,))}
        states = {"h": jnp.zeros((2, UNITS)), "buf": jnp.zeros((2, SLOTS, UNITS)), "i": jnp.array(0)}
        learner, found = beside_bptt(step, params, states, jax.random.normal(keys[2], (STEPS, 2, 3)), rule="d_rtrl")
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10
