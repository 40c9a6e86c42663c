"""How models of other libraries are called: options, keys, clocks and boxes as their own users write them."""

import functools

import brainstate
import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import etir

STEPS = 5


def sequence(*shape):
    return jax.random.normal(jax.random.key(1), (STEPS, *shape))


def test_an_option_of_a_haiku_function_is_no_state():
    def model(x, is_training):
        h = hk.get_state("h", (2, 4), init=jnp.zeros)
        h = 0.9 * h + hk.Linear(4)(x) * (2 if is_training else 1)
        hk.set_state("h", h)
        return h

    net, xs = hk.transform_with_state(model), sequence(2, 3).astype("float32")
    params, state = net.init(jax.random.key(0), xs[0], True)
    learner = etir.compile(etir.from_haiku(net, params, state, is_training=True), xs[0])
    own, _ = net.apply(params, state, None, xs[0], True)
    np.testing.assert_allclose(learner.predict(xs=xs[:1])[1][0], own, rtol=1e-5)
    assert list(learner.states) == ["~"]


class Partitioned(linen.Module):
    @linen.compact
    def __call__(self, x):
        v = self.variable("neuron", "v", jnp.zeros, (2, 4))
        begin = linen.with_partitioning(linen.initializers.ones, ("in", "out"))
        v.value = 0.9 * v.value + linen.Dense(4, kernel_init=begin)(x)
        return v.value


def test_a_partitioned_weight_of_linen_is_called_as_any_other_and_stays_partitioned():
    module, x = Partitioned(), jnp.ones((2, 3))
    variables = module.init(jax.random.key(0), x)
    learner = etir.compile(module, variables, x)
    assert [entry.path for entry in learner.certificate] == ["Dense_0.bias", "Dense_0.kernel"]
    for held in (variables, module):
        kernel = learner.write_back(held, jax.tree.map(lambda p: p + 1, learner.params), learner.states)
        kernel = kernel["params"]["Dense_0"]["kernel"]
        assert (kernel.names, float(kernel.value[0, 0])) == (("in", "out"), 2.0)


class Dropping(eqx.Module):
    drop: eqx.nn.Dropout
    w: jax.Array

    def __call__(self, x, v, *, key=None):
        v = 0.9 * v + self.drop(x @ self.w, key=key)
        return v, v


def test_a_key_of_equinox_is_split_at_every_step():
    model, xs, key = Dropping(eqx.nn.Dropout(0.5), jnp.ones((3, 4))), sequence(3), jax.random.key(0)
    learner = etir.compile(etir.from_equinox(model, jnp.zeros(4), key=key), xs[0])
    v, ys = jnp.zeros(4), []
    for x in xs:
        key, drawn = jax.random.split(key)
        y, v = model(x, v, key=drawn)
        ys.append(y)
    after, found = learner.predict(xs=xs)
    np.testing.assert_allclose(found, jnp.stack(ys), rtol=1e-5)
    assert after["rng.key"] == key
    assert np.array_equal(learner.write_back(model, learner.params, after)[1], after["carry"])
    with pytest.raises(etir.EtirError, match=r"'Dropping' draws random numbers without a key \[model-uninitialised\]"):
        etir.compile(etir.from_equinox(model, jnp.zeros(4)), xs[0])


class Clocked(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = brainstate.ParamState(jnp.ones(3))
        self.v = brainstate.HiddenState(jnp.zeros(3))

    def update(self, x):
        late = jnp.where(brainstate.environ.get("t") > 1.2, 2.0, 1.0) + brainstate.environ.get("i") % 2
        self.v.value = 0.9 * self.v.value + late * self.w.value * x
        return self.v.value


def test_time_goes_on_in_the_environment_of_brainstate():
    model, xs = Clocked(), sequence(3)
    learner = etir.compile(etir.from_brainstate(model, t=0.0, dt=0.5, i=0), xs[0])
    after, ys = learner.predict(xs=xs)
    own = []
    for k, x in enumerate(xs):
        with brainstate.environ.context(t=0.5 * k, i=k):
            own.append(model(x))
    np.testing.assert_allclose(ys, jnp.stack(own), rtol=1e-5)
    assert (float(after["environ.t"]), int(after["environ.i"])) == (0.5 * STEPS, STEPS)
    assert str(learner.certificate["w"].label) == "exact"
    assert np.array_equal(learner.write_back(model, learner.params, after).v.value, after["v"])
    with pytest.raises(etir.EtirError, match="the time 't' was given without the 'dt' by which it goes on"):
        etir.compile(etir.from_brainstate(model, t=0.0), xs[0])


class Two(nnx.Module):
    def __init__(self):
        self.v = nnx.Variable(jnp.zeros(3))

    def __call__(self, a, b):
        self.v[...] += a + b


CELL = linen.GRUCell(4)
NET = hk.transform_with_state(lambda x: hk.BatchNorm(True, True, 0.9)(x, is_training=True))
LSTM = eqx.nn.LSTMCell(3, 4, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (nnx.jit(Two()), "flax.nnx: 'Two'"),
        (CELL.apply, "flax.linen: 'GRUCell'"),
        (jax.jit(CELL.apply), "flax.linen: 'GRUCell'"),
        (NET.apply, "haiku: its function 'apply_fn'"),
        (eqx.filter_jit(LSTM), "equinox: 'LSTMCell'"),
        (jax.vmap(LSTM), "equinox: 'LSTMCell'"),
        (functools.partial(LSTM), "equinox: 'LSTMCell'"),
    ],
)
def test_a_model_inside_a_function_is_told_however_many_values_come_with_it(call, name: str):
    with pytest.raises(etir.EtirError, match=rf"^error: {name} was given.*; wanted the model itself"):
        etir.compile(call, jnp.ones(3), jnp.ones(3))


def test_the_call_of_a_model_may_be_a_plain_step():
    h, x = jnp.zeros((2, 4)), jnp.ones((2, 3))
    learner = etir.compile(jax.jit(CELL.apply), CELL.init(jax.random.key(0), h, x), h, x, rule="rtrl")
    for batch in (learner, learner.for_batch(jnp.zeros((5, 4)))):
        assert {str(each.label) for each in batch.certificate} == {"exact"}


class Stepping(eqx.Module):
    rate: float

    def __call__(self, params, states, x):
        states = self.rate * states + etir.matmul(x, params)
        return states, states


def test_a_module_may_hold_a_plain_step():
    given = jnp.ones((3, 4)), jnp.zeros(4), jnp.ones(3)
    assert str(etir.compile(jax.jit(Stepping(0.9)), *given).certificate["param"].label) == "exact"
    with pytest.raises(AttributeError, match="nothing"):
        etir.compile(lambda params, states, x: params.nothing, *given)
