"""Traces held one step behind: whatever took the last step, whatever takes the next one goes on from there."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import settled
from oracles import bptt, by_path, loss, relative_error
from structures import STRUCTURES

import etir
from etir.backends.folds import lag
from etir.backends.folds.algebra import Algebra

EXACT = 1e-12
STILL = optax.sgd(0.0)


def compiled(of, window: int, **options):
    return etir.compile(of.step, of.params, of.states, of.xs[0], window=window, on_truncated="ignore", **options)


def stepped(learner, params, carry, xs, ts):
    """The gradient of each step by itself."""

    @jax.jit
    def once(params, carry, x, t):
        def one(params):
            after, y = learner.step(params, carry, x)
            return loss(y, t), after

        return jax.grad(one, has_aux=True)(params)

    total = jax.tree.map(jnp.zeros_like, params)
    for x, t in zip(xs, ts, strict=True):
        grads, carry = once(params, carry, x, t)
        total = jax.tree.map(jnp.add, total, grads)
    return total, carry


def windowed(learner, params, carry, xs, ts):
    """The gradient through `learner.window`."""

    def whole(params):
        after, ys = learner.window(params, carry, xs)
        return loss(ys, ts), after

    return jax.grad(whole, has_aux=True)(params)


def driven(learner, params, carry, xs, ts):
    """The driver's gradient."""
    found = learner.grad(loss)(params, carry, xs, ts)
    return found.grads, found.carry


def passed(learner, params, carry, xs, ts):
    """The driver's gradient, and the carry that training at a rate of zero leaves."""
    trained = learner.train(loss, STILL)(params, STILL.init(params), carry, xs, ts)
    return driven(learner, params, carry, xs, ts)[0], trained.carry


@pytest.mark.parametrize(
    ("name", "window", "order"),
    [
        ("gathered", 2, [(stepped, 1), (driven, 3), (stepped, 2)]),
        ("current_to_voltage", 3, [(windowed, 2), (stepped, 1), (passed, 2), (driven, 1)]),
        ("current_to_voltage", 1, [(driven, 1), (windowed, 1), (passed, 1), (windowed, 3)]),
    ],
)
def test_each_method_takes_what_each_other_leaves(name: str, window: int, order):
    of = STRUCTURES[name]
    learner = compiled(of, window)
    assert {str(entry.label) for entry in learner.certificate} == {"exact"}
    carry, total, at = learner.init(), jax.tree.map(jnp.zeros_like, of.params), 0
    for method, steps in order:
        grads, carry = method(learner, of.params, carry, of.xs[at : at + steps], of.ts[at : at + steps])
        total, at = jax.tree.map(jnp.add, total, grads), at + steps
    wanted = bptt(of.step, of.params, of.states, (of.xs,), of.ts)
    found = by_path(total)
    assert {path: e for path, g in wanted.grads.items() if not (e := relative_error(found[path], g)) < EXACT} == {}


def test_traces_are_the_references_whatever_took_the_steps():
    of = STRUCTURES["moving_recurrence"]
    learners = [compiled(of, 2, backend=backend) for backend in ("xla", "reference")]
    ends = []
    for learner, method in zip(learners, (stepped, driven), strict=True):
        _, carry = method(learner, of.params, learner.init(), of.xs, of.ts)
        ends.append(settled(learner, carry))
    assert max(map(relative_error, jax.tree.leaves(ends[0]), jax.tree.leaves(ends[1]))) < EXACT


@pytest.mark.parametrize("at_once", [2, 16])
def test_large_traces_are_contracted_a_few_entries_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch):
    """Five entries: they divide by none of these."""
    monkeypatch.setattr(Algebra, "in_place_from", 1)
    monkeypatch.setattr(lag, "AT_ONCE", at_once)

    def step(params, states, x):
        h = jax.nn.sigmoid(params["leak"]) * states + etir.matmul(x, params["W"])
        return h, h

    rng = np.random.default_rng(0)
    params = {"W": jnp.asarray(rng.normal(size=(3, 4))), "leak": jnp.asarray(rng.normal(size=4))}
    xs, ts = jnp.asarray(rng.normal(size=(6, 5, 3))), jnp.asarray(rng.normal(size=(6, 5, 4)))
    learner = etir.compile(step, params, jnp.zeros((5, 4)), xs[0], on_truncated="ignore")
    total, _ = stepped(learner, params, learner.init(), xs, ts)
    assert relative_error(total["W"], bptt(step, params, jnp.zeros((5, 4)), (xs,), ts).grads["W"]) < EXACT
