"""The adapters alone: the five cells run as plain steps, and are the GRUs that they are said to be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gru_cells import CELLS, INPUTS, RESET_BEFORE
from oracles import bptt, directional_error

STEPS = 7


def sequence() -> tuple[tuple[jax.Array], jax.Array]:
    x, t = jax.random.split(jax.random.key(1))
    return (jax.random.normal(x, (STEPS, INPUTS), jnp.float64),), jax.random.normal(t, (STEPS, 4), jnp.float64)


@pytest.mark.parametrize("name", CELLS)
def test_bptt_runs_and_agrees_with_finite_differences(name: str):
    cell, (xs, ts) = CELLS[name](), sequence()
    outcome = bptt(cell.step, cell.params, cell.state, xs, ts)
    assert all(np.any(grad) for grad in outcome.grads.values())
    assert all(grad.dtype == jnp.float64 for grad in outcome.grads.values())
    assert directional_error(cell.step, cell.params, cell.state, xs, ts, jax.random.key(2)) < 1e-6


def products_fed_by_products(step, *arguments) -> bool:
    """Whether some product of the step takes in what another one gave out."""
    fed: set = set()
    found = False
    for eqn in flattened(jax.make_jaxpr(step)(*arguments).jaxpr):
        tainted = any(id(v) in fed for v in eqn.invars)
        found |= tainted and eqn.primitive.name == "dot_general"
        if tainted or eqn.primitive.name == "dot_general":
            fed.update(id(v) for v in eqn.outvars)
    return found


def flattened(jaxpr):
    assert not any("jaxpr" in eqn.params and has_product(eqn.params["jaxpr"]) for eqn in jaxpr.eqns)
    return jaxpr.eqns


def has_product(inner) -> bool:
    return any(eqn.primitive.name == "dot_general" for eqn in getattr(inner, "jaxpr", inner).eqns)


@pytest.mark.parametrize("name", CELLS)
def test_where_the_reset_gate_stands(name: str):
    cell = CELLS[name]()
    assert products_fed_by_products(cell.step, cell.params, cell.state, jnp.zeros(INPUTS)) == (name in RESET_BEFORE)
