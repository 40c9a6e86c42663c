"""Penalties on hidden states, learned online: equal to BPTT of the whole formula where labels are exact."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError, zoo
from etir.instruments import Observed, activity, regularised, spike_rate, temporal_activation, with_states

MODEL = zoo.case("leaky_elementwise").build(jax.random.key(0), batch=2, dtype=jnp.float64)
XS = MODEL.make_inputs(jax.random.key(1), 17)[0]
TARGETS = MODEL.make_targets(jax.random.key(2), 17)
SPIKING = zoo.case("lif_current_vjp").build(jax.random.key(3), batch=2, dtype=jnp.float64)


def task(y, target):
    return jnp.mean((y - target) ** 2)


def run(model, params, xs):
    """All outputs, and all states with the initial ones first, of the plain model."""

    def body(states, x):
        after, y = model.step(params, states, x)
        return after, (y, after)

    _, (ys, after) = jax.lax.scan(body, model.states, xs)
    return ys, jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), model.states, after)


def test_activity_and_temporal_activation_are_exact_online():
    def formula(params):
        ys, states = run(MODEL, params, XS)
        h = states["h"]
        tasks = jnp.mean((ys - TARGETS) ** 2, axis=(1, 2))
        return jnp.sum(tasks) + 0.3 * jnp.sum(h[1:] ** 2) / h[0].size + 0.7 * jnp.sum((h[1:] - h[:-1]) ** 2) / h[0].size

    learner = etir.compile(with_states(MODEL.step), MODEL.params, MODEL.states, *MODEL.inputs, window=5)
    assert {str(label.label) for label in learner.certificate} == {"exact"}
    loss = regularised(task, activity(0.3), temporal_activation(0.7, of="h"))
    result = learner.grad(loss)(MODEL.params, learner.init(), XS, TARGETS)
    wanted = jax.grad(formula)(MODEL.params)
    np.testing.assert_allclose(result.losses.sum(), formula(MODEL.params))
    for path, gradient in result.grads.items():
        np.testing.assert_allclose(gradient, wanted[path], rtol=1e-10)
    plain = learner.grad(regularised(task))(MODEL.params, learner.init(), XS, TARGETS).grads
    assert float(jnp.abs(plain["W"] - result.grads["W"]).max()) > 1e-3


def test_spike_rate_is_exact_online():
    xs = SPIKING.make_inputs(jax.random.key(4), 15)[0]

    def formula(params):
        _, states = run(SPIKING, params, xs)
        return jnp.sum(2.0 * (jnp.mean(states["s"][1:], axis=(1, 2)) - 0.4) ** 2)

    learner = etir.compile(with_states(SPIKING.step), SPIKING.params, SPIKING.states, *SPIKING.inputs, window=3)
    assert str(learner.certificate["W"].label) == "exact"
    wanted = jax.grad(formula)(SPIKING.params)["W"]
    assert float(jnp.abs(wanted).max()) > 1e-3
    for of in ("s", lambda observed: observed.states["s"]):
        loss = regularised(lambda y: 0.0 * jnp.sum(y), spike_rate(0.4, 2.0, of=of))
        found = learner.grad(loss)(SPIKING.params, learner.init(), xs).grads["W"]
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_a_module_shows_its_states_and_the_rest_is_kept():
    module = zoo.case("rnn_vanilla").build_module(jax.random.key(0), dtype=jnp.float64)
    xs = jax.random.normal(jax.random.key(5), (6, 3))
    learner = etir.compile(with_states(module, xs[0]), xs[0], rule="rtrl")
    carry, observed = learner.window(learner.params, learner.init(), xs)
    assert isinstance(observed, Observed)
    np.testing.assert_allclose(observed.states["h"][:-1], observed.before["h"][1:])
    np.testing.assert_allclose(carry.states["h"], observed.states["h"][-1])
    functional = etir.functionalise(module, xs[0])
    same = etir.compile(with_states(functional), xs[0], rule="rtrl")
    np.testing.assert_allclose(same.window(same.params, same.init(), xs)[1].outputs, observed.outputs)
    loss = regularised(lambda y: (jnp.sum(y), y), activity(0.5))
    result = learner.grad(loss)(learner.params, learner.init(), xs)
    np.testing.assert_allclose(result.aux, observed.outputs)


def test_what_cannot_be_penalised():
    learner = etir.compile(MODEL.step, MODEL.params, MODEL.states, *MODEL.inputs)
    with pytest.raises(EtirError) as refused:
        learner.grad(regularised(task, activity()))(MODEL.params, learner.init(), XS, TARGETS)
    assert str(refused.value) == (
        "error: a regularised loss was given outputs that do not show the model's states [regularised-outputs]\n"
        "  help: compile the model as etir.instruments.with_states(step) makes it"
    )
    shown = etir.compile(with_states(MODEL.step), MODEL.params, MODEL.states, *MODEL.inputs)
    with pytest.raises(EtirError) as refused:
        shown.grad(regularised(task, activity(of="v*")))(MODEL.params, shown.init(), XS, TARGETS)
    assert str(refused.value) == "error: of='v*' matches no state [penalty-states]\n  help: known: h"
