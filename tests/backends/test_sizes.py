"""Batches of other sizes than a learner was compiled for: it is compiled again when they are met."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, compiled, differing
from oracles import by_path, loss
from problems import problem

import etir


@pytest.fixture(scope="module")
def learner() -> Any:
    return compiled(problem("min_gru", batch=3), "d_rtrl", 5)


@pytest.mark.parametrize("size", [1, 4])
def test_another_batch_has_the_gradient_of_its_own(learner: Any, size: int):
    of = problem("min_gru", batch=size)
    params, states, *sequences = of.arguments
    found = learner.grad(loss)(params, learner.init(params, states), *sequences)
    assert differing(by_path(found.grads), of.bptt().grads, EXACT) == {}
    assert np.array_equal(learner.predict(params, states, sequences[0])[1], learner.window(
        params, learner.init(params, states), sequences[0])[1])  # fmt: skip


def test_it_may_be_met_while_jax_traces(learner: Any):
    of = problem("min_gru", batch=2)

    @jax.jit
    def gradient(params: Any, states: Any, *sequences: Any) -> Any:
        return learner.grad(loss)(params, learner.init(params, states), *sequences).grads

    assert differing(by_path(gradient(*of.arguments)), of.bptt().grads, EXACT) == {}


def test_sequences_begin_anew_with_states_that_samples_share():
    def step(params: Any, states: Any, x: Any) -> Any:
        h = 0.9 * states["h"] + etir.matmul(x, params["w"])
        return {"h": h}, h

    params, x = {"w": jnp.full((2, 3), 0.5)}, jnp.ones((4, 2))
    reset = jnp.array([False, True])
    learner = etir.compile(step, params, {"h": jnp.ones((4, 3))}, x, reset="step")
    _, outputs = learner.window(
        params, learner.init(params, {"h": jnp.zeros((2, 3))}), jnp.ones((2, 2, 2)), reset=reset
    )
    assert np.allclose(outputs[1], 0.9 + 1.0)
    uneven = etir.compile(step, params, {"h": jnp.arange(12.0).reshape(4, 3)}, x, reset="step")
    with pytest.raises(etir.EtirError, match="'h' has 2 rows; the learner was compiled for 4"):
        uneven.init(params, {"h": jnp.zeros((2, 3))})


def test_what_differs_otherwise_is_refused(learner: Any):
    params, states, xs, *_ = problem("min_gru", batch=3).arguments
    carry = learner.init(params, jax.tree.map(lambda h: h[:2], states))
    with pytest.raises(etir.EtirError, match="has 3 rows"):
        learner.step(params, carry, xs[0])
    with pytest.raises(etir.EtirError, match="the learner was compiled for"):
        learner.init(params, jax.tree.map(lambda h: h[:, :1], states))


def test_gates_that_are_one_product_have_a_batch_too():
    """As in stock cells: the product's columns are split into gates, and the samples are still its rows."""

    def step(params: Any, states: Any, x: Any) -> Any:
        z, c = jnp.split(x @ params["w"] + params["b"], 2, -1)
        z = jax.nn.sigmoid(z)
        h = z * states["h"] + (1 - z) * jnp.tanh(c)
        return {"h": h}, h

    draw = np.random.default_rng(0)
    params = {"w": draw.normal(size=(2, 6)), "b": draw.normal(size=6)}
    xs, seen = draw.normal(size=(5, 7, 2)), jnp.zeros((4, 3))
    learner = etir.compile(step, params, {"h": seen}, xs[0, :4], sites="auto", window=2)
    states = learner.beginning(xs)
    assert states["h"].shape == (7, 3)

    def total(params: Any) -> Any:
        return jnp.sum(jax.lax.scan(lambda s, x: step(params, s, x), {"h": jnp.zeros((7, 3))}, xs)[1] ** 2)

    found = learner.grad(lambda y: jnp.sum(y**2))(params, learner.init(params, states), xs).grads
    assert {label.label for label in learner.certificate} == {"exact"}
    assert differing(by_path(found), by_path(jax.grad(total)(params)), EXACT) == {}
    assert np.array_equal(learner.predict(params, None, xs)[1], learner.predict(params, states, xs)[1])


def test_a_model_of_one_sample_has_no_batch():
    def step(params: Any, states: Any, x: Any) -> Any:
        h = 0.9 * states["h"] + etir.matmul(x, params["w"])
        return {"h": h}, h

    learner = etir.compile(step, {"w": jnp.ones((2, 3))}, {"h": jnp.zeros(3)}, jnp.ones(2))
    assert learner.beginning(jnp.ones((5, 4)))["h"].shape == (3,)
    with pytest.raises(etir.EtirError, match="the learner was compiled for"):
        learner.predict(None, None, jnp.ones((5, 4)))
