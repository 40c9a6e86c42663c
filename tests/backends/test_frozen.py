"""Frozen weights: no gradient, no trace, and not a bit of them moves; the others learn as if they were constants."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import bptt, loss, relative_error

import etir

PARAMS = {"A": (5, 2), "B": (2, 6), "R": (6, 2), "W0": (5, 6), "b": (6,)}


def step(params, states, x):
    y = etir.matmul(x, params["W0"]) + (x @ params["A"]) @ params["B"] + params["b"]
    h = 0.9 * states["h"] + jnp.tanh(y)
    return {"h": h}, h @ params["R"]


@pytest.fixture
def problem():
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = {path: jax.random.normal(next(keys), shape) for path, shape in PARAMS.items()}
    xs, ts = jax.random.normal(next(keys), (11, 3, 5)), jax.random.normal(next(keys), (11, 3, 2))
    return params, {"h": jnp.zeros((3, 6))}, xs, ts


@pytest.mark.parametrize("backend", ["reference", "xla"])
def test_gradients_are_those_of_the_other_parameters(problem, backend: str):
    params, states, xs, ts = problem
    frozen = ["W0", "R"]
    learner = etir.compile(step, params, states, xs[0], window=2, sites="auto", frozen=frozen, backend=backend)
    result = learner.grad(loss)(params, learner.init(), xs, ts)
    assert {path for path, g in result.grads.items() if g is None} == set(frozen)
    labels = {label.path: str(label.label) for label in learner.certificate}
    assert labels == dict.fromkeys(params, "exact") | dict.fromkeys(frozen, "frozen")
    wanted = bptt(step, params, states, (xs,), ts).grads
    for path in set(params) - set(frozen):
        assert relative_error(result.grads[path], wanted[path]) < 1e-10
    grads = jax.grad(lambda p: loss(learner.step(p, learner.init(), xs[0])[1], ts[0]))(params)
    assert not np.any(grads["W0"])
    assert np.any(grads["A"])


def test_an_optimiser_leaves_them_bit_for_bit(problem):
    """Weight decay would move them. One that begins with all parameters moves the others alike."""
    params, states, xs, ts = problem
    learner = etir.compile(step, params, states, xs[0], window=3, sites="auto", frozen="W0")
    optimizer = optax.adamw(1e-2, weight_decay=0.1)
    own = learner.trainable(params)
    grads = learner.grad(loss)(params, learner.init(), xs[:3], ts[:3]).grads
    updates, _ = optimizer.update(grads, optimizer.init(own), own)
    wanted = learner.with_trainable(params, optax.apply_updates(own, updates))
    for begun in (params, own):
        found = learner.train(loss, optimizer)(params, optimizer.init(begun), learner.init(), xs[:3], ts[:3]).params
        assert np.array_equal(found["W0"], params["W0"])
        assert all(relative_error(found[path], wanted[path]) < 1e-10 for path in params)
