"""The weight operation of examples/operations under every rule, against a product of windows that are made by hand."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from learners import differing
from oracles import bptt, by_path

import etir
from etir.rules import RULES

FILE = Path(__file__).parents[2] / "examples" / "operations" / "locally_connected.py"
SPEC = importlib.util.spec_from_file_location("locally_connected", FILE)
EXAMPLE = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EXAMPLE)

STEPS = 5
XS = jax.random.normal(jax.random.key(0), (STEPS, 2, 5, 2))
PARAMS = {"w": 0.5 * jax.random.normal(jax.random.key(1), (2, 3, 2, 2))}
STATES = {"h": jnp.zeros((2, 2, 2))}
SIGNALS = {"three_factor": {"modulator": jnp.linspace(0.5, 1.0, STEPS, dtype=jnp.float32)}}


def model(operation):
    def step(params, states, x):
        h = 0.8 * states["h"] + jnp.tanh(operation(x, params["w"]) + 0.1 * states["h"])
        return {"h": h}, h

    return step


def by_hand(x, w):
    return etir.einsum("bpkc,pkco->bpo", EXAMPLE.unfold(x, w, stride=2), w)


def loss(y, t):
    return jnp.sum((y - t) ** 2)


def gradients(operation, rule):
    step = model(operation)
    learner = etir.compile(step, PARAMS, STATES, XS[0], rule=rule, window=2, on_truncated="ignore")
    carry = learner.init(PARAMS, STATES, key=jax.random.key(2))
    found = learner.grad(loss)(PARAMS, carry, XS, jnp.ones((STEPS, 2, 2, 2)), **SIGNALS.get(rule, {}))
    return str(learner.certificate["w"].label), by_path(found.grads)


def local(x, w):
    return EXAMPLE.locally_connected(x, w, stride=2)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_every_rule_gives_what_it_gives_for_the_product(rule):
    label, found = gradients(local, rule)
    twin, wanted = gradients(by_hand, rule)
    assert (label, differing(found, wanted)) == (twin, {})


def test_it_is_exact():
    label, found = gradients(local, "d_rtrl")
    exact = bptt(model(local), PARAMS, STATES, (XS,), jnp.ones((STEPS, 2, 2, 2))).grads
    assert label == "exact"
    assert differing(found, {path: 2 * grad for path, grad in exact.items()}) == {}
