"""Models of other libraries in a stateful learner: gradients beside BPTT, states by path, and the way back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from framework_models import guest
from oracles import bptt, relative_error

import etir
from etir import nn, transform

STEPS = 5


def online_of(name: str) -> tuple[etir.OnlineLearner, Any, Any]:
    """An exact learner of a guest, compiled; its model as a pure step, and inputs for some steps."""
    of = guest(name)
    learner = etir.RTRL(of.given[0])
    learner.compile_graph(*of.given[1:], *of.inputs)
    xs = jax.random.normal(jax.random.key(0), (STEPS, *of.inputs[0].shape), of.inputs[0].dtype)
    return learner, etir.functionalise(*of.given, *of.inputs), xs


def summed(online: etir.OnlineLearner, xs: Any, ts: Any) -> dict[str, Any]:
    """The sum over the steps of the gradients by the weights."""
    step = transform.jit(lambda x, t: transform.grad(lambda: 0.5 * jnp.sum((online(x) - t) ** 2), online)())
    found = [step(x, t) for x, t in zip(xs, ts, strict=True)]
    return jax.tree.map(lambda *each: sum(each), *found)


@pytest.mark.parametrize("name", ["nnx.OptimizedLSTMCell", "haiku.GRU"])
def test_the_gradient_of_an_exact_rule_is_that_of_bptt(name: str):
    online, model, xs = online_of(name)
    ts = jnp.ones((STEPS, *online(xs[0]).shape))
    nn.zero_states(online)
    found, wanted = summed(online, xs, ts), bptt(model.step, model.params, model.states, (xs,), ts).grads
    leaves = zip(jax.tree.leaves({path: found[path] for path in model.params}), wanted.values(), strict=True)
    assert max(relative_error(a, b) for a, b in leaves) < 1e-10
    assert all(label.label == "exact" for label in online.certificate)


def test_what_is_learnt_stays_and_goes_back():
    model = nnx.clone(guest("nnx.Net").given[0])
    online, x = etir.D_RTRL(model), jax.random.normal(jax.random.key(0), guest("nnx.Net").inputs[0].shape)
    online.compile_graph(x)
    states = online.states()
    assert isinstance(states["v"], etir.HiddenState)
    assert not isinstance(states["norm.mean"], etir.HiddenState)
    states["layers.0.kernel"].value += 1
    online.compile_graph(x)  # as for another batch
    online(x)
    before = model.layers[0].kernel[...]
    assert online.write_back(model) is model
    np.testing.assert_array_equal(model.layers[0].kernel[...], before + 1)
    np.testing.assert_array_equal(model.v[...], online.states()["v"].value)
    assert jnp.any(model.v[...])


def test_it_prints_the_name_of_the_model():
    cell = guest("nnx.GRUCell").given[0]
    assert str(etir.PpProp(cell, decay=0.5)) == str(etir.PpProp(etir.from_nnx(cell), decay=0.5))
