"""What every rule that draws random numbers does alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from estimates import estimates, gradients, learner_of, model
from oracles import by_path, loss, relative_error
from snippets import expected

import etir

pytestmark = pytest.mark.parametrize("rule", ["uoro", "kf_rtrl"])


def step(p, s, x):
    h = jnp.tanh(etir.matmul(s["h"], p["U"], p["b"]) + etir.matmul(x, p["W"]))
    return {"h": h}, h @ p["o"]


RNN = model(step, {"U": (4, 4), "W": (2, 4), "b": (4,), "o": (4, 2)}, {"h": jnp.zeros(4)}, (2,))


def test_each_key_of_a_batch_gives_what_it_gives_alone(rule: str):
    learner = learner_of(RNN, rule)
    found = estimates(RNN, learner, 3)
    for k, key in enumerate(jax.random.split(jax.random.key(7), 3)):
        np.testing.assert_allclose(found["U"][k], gradients(RNN, learner, key)["U"], rtol=1e-12)


@pytest.mark.parametrize("window", [2, 5])
def test_a_window_leaves_the_traces_of_its_steps(rule: str, window: int):
    single, whole = learner_of(RNN, rule), learner_of(RNN, rule, window)
    one = many = single.init(key=jax.random.key(2))
    for x in RNN.xs[:window]:
        one, _ = single.step(RNN.params, one, x)
    many, _ = whole.window(RNN.params, many, RNN.xs[:window])
    for a, b in zip(one.traces, many.traces, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_the_first_window_is_backpropagation(rule: str, window: int):
    learner = learner_of(RNN, rule, window)
    first = RNN._replace(xs=RNN.xs[:window], ts=RNN.ts[:window])
    found = by_path(gradients(first, learner, jax.random.key(0)))
    assert max(relative_error(found[path], wanted) for path, wanted in first.wanted.items()) < 1e-12


def test_the_interactive_case_is_the_driver(rule: str):
    learner = learner_of(RNN, rule)
    carry, total = learner.init(key=jax.random.key(4)), jax.tree.map(jnp.zeros_like, RNN.params)

    def credited(params, carry, x, t):
        carry, y = learner.step(params, carry, x)
        return loss(y, t), carry

    for x, t in zip(RNN.xs, RNN.ts, strict=True):
        grads, carry = jax.grad(credited, has_aux=True)(RNN.params, carry, x, t)
        total = jax.tree.map(jnp.add, total, grads)
    wanted = by_path(gradients(RNN, learner, jax.random.key(4)))
    assert max(relative_error(g, wanted[path]) for path, g in by_path(total).items()) < 1e-12


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_narrow_numbers(rule: str, dtype: str):
    params, states, xs, ts = jax.tree.map(lambda x: x.astype(dtype), (RNN.params, RNN.states, RNN.xs, RNN.ts))
    of = RNN._replace(params=params, states=states, xs=xs, ts=ts)
    found = gradients(of, learner_of(of, rule), jax.random.key(0))
    assert all(g.dtype == dtype and np.isfinite(np.asarray(g, float)).all() for g in jax.tree.leaves(found))


def test_traces_may_be_held_in_another_type(rule: str):
    held = learner_of(RNN, rule, trace_dtype=jnp.float32)
    wanted, found = (gradients(RNN, x, jax.random.key(0))["U"] for x in (learner_of(RNN, rule), held))
    assert 0 < relative_error(found, wanted) < 1e-5


def test_a_key_is_asked_for(rule: str):
    with pytest.raises(etir.EtirError) as caught:
        learner_of(RNN, rule).init()
    assert str(caught.value) == expected(f"""
        error: rule '{rule}' draws random numbers, and learner.init was given no key [key-missing]
          help: pass learner.init(params, states, key=jax.random.key(0))
    """)
