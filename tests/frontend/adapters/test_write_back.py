"""Results go back into models, each in its library's way: the model alone goes on from where the learner was."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from framework_models import guest
from snippets import expected, message_of

import etir

STEPS = 6


def trained(*given):
    """A learner, and what `train` gave after some steps, with the inputs that come next."""
    learner = etir.compile(*given, window=2, on_truncated="ignore")
    keys, optimizer = jax.random.split(jax.random.key(0), 2), optax.sgd(0.1)
    xs, after = (jax.random.normal(key, (STEPS, *given[-1].shape), given[-1].dtype) for key in keys)
    train = learner.train(lambda y: jnp.mean(y**2), optimizer)
    return learner, train(learner.params, optimizer.init(learner.params), learner.init(), xs), after


def test_an_nnx_model_is_written_in_place():
    model, x = nnx.clone(guest("nnx.Net").given[0]), guest("nnx.Net").inputs[0]
    learner, result, xs = trained(model, x)
    before = nnx.to_pure_dict(nnx.state(model))
    assert learner.write_back(model, result.params, result.carry.states) is model
    assert not np.allclose(before["layers"][0]["kernel"], model.layers[0].kernel[...])
    _, ys = learner.predict(result.params, result.carry.states, xs)
    np.testing.assert_allclose(jnp.stack([model(x) for x in xs]), ys, rtol=1e-12)


def test_a_carry_that_is_passed_by_hand_is_not_in_the_model():
    cell = nnx.clone(guest("nnx.GRUCell").given[0])
    learner, result, xs = trained(cell, guest("nnx.GRUCell").inputs[0])
    learner.write_back(cell, result.params, result.carry.states)
    after, _ = learner.predict(result.params, result.carry.states, xs[:1])
    np.testing.assert_allclose(cell(result.carry.states["carry"], xs[0])[0], after["carry"], rtol=1e-12)


def test_of_a_linen_module_variables_are_returned():
    module = linen.GRUCell(4, dtype="float64", param_dtype="float64")
    x = jnp.zeros((2, 3), "float64")
    variables = module.init(jax.random.key(0), jnp.zeros((2, 4)), x) | {"other": {"kept": jnp.ones(2)}}
    learner, result, xs = trained(etir.from_linen(module, {"params": variables["params"]}), x)
    states = result.carry.states
    new = learner.write_back(variables, result.params, states)
    assert new["other"] is variables["other"]
    assert list(learner.write_back(module, result.params, states)) == ["params"]
    after, _ = learner.predict(result.params, states, xs[:1])
    np.testing.assert_allclose(module.apply(new, states["carry"], xs[0])[0], after["carry"], rtol=1e-12)


def test_of_a_haiku_function_what_apply_takes_is_returned():
    def step(x):
        h = hk.get_state("h", (2, 4), "float64", init=jnp.zeros)
        hk.set_state("h", jnp.tanh(0.5 * h + hk.Linear(4)(x)))
        return hk.get_state("h")

    model, x = hk.without_apply_rng(hk.transform_with_state(step)), jnp.zeros((2, 3), "float64")
    learner, result, xs = trained(model, *model.init(jax.random.key(0), x), x)
    params, state = learner.write_back(model, result.params, result.carry.states)
    after, ys = learner.predict(result.params, result.carry.states, xs[:1])
    y, now = model.apply(params, state, xs[0])
    np.testing.assert_allclose((y, now["~"]["h"]), (ys[0], after["~"]["h"]), rtol=1e-12)


def test_a_native_module_is_written_and_no_other_than_the_one_that_is_given():
    def made():
        model = etir.nn.Sequential(etir.nn.Linear(3, 4), Leaky())
        etir.nn.init_all_states(model)
        return model

    class Leaky(etir.Module):
        def __init__(self):
            self.v = etir.HiddenState(jnp.zeros(4))

        def update(self, x):
            self.v.value = 0.9 * self.v.value + x
            return self.v.value

    first, second = made(), made()
    learner, result, _ = trained(first, jnp.ones(3))
    learner.write_back(second, result.params, result.carry)
    values = [{path: s.value for path, s in model.states().items()} for model in (first, second)]
    written = {**result.params, **result.carry.states}
    assert all(np.array_equal(values[1][path], written[path]) for path in written)
    assert not any(np.array_equal(values[0][path], written[path]) for path in written)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            "etir.compile(lambda p, h, x: (h + p * x, h), 1.0, 0.0, 1.0, sites='auto').write_back(None, 1.0, 0.0)",
            "error: the learner is of a plain function, which holds no values [write-back]",
        ),
        (
            "learner.write_back(7, learner.params, learner.states)",
            """
            error: flax.nnx: 'int' was given where an nnx.Module is wanted [model-kind]
              help: learner.write_back(model, params, carry.states)
            """,
        ),
        (
            "learner.write_back(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), learner.params, learner.states)",
            """
            model.py:5:1: error: write_back was given nothing for 'bias' [path-missing]
              learner.write_back(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), learner.params, learner.states)
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            """,
        ),
    ],
)
def test_what_cannot_be_written_is_refused(call: str, text: str):
    head = """\
import etir
from flax import nnx
cell = nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0))
learner = etir.compile(cell, jnp.zeros(3, "float32"), on_truncated="ignore")
"""
    assert message_of(head + call).partition("\nmodel.py:5:1: error: write_back was given nothing for 'k")[
        0
    ] == expected(text)
