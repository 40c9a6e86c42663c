"""`train` is a Python loop of `grad` and the optimiser's update, once a window."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import loss, relative_error
from structures import STRUCTURES

import etir

WINDOW = 4


def by_hand(learner, of, optimizer, reduction: str):
    """The loop. Steepest ascent is the conjugate of JAX's gradient where a parameter is complex."""
    params, opt_state, carry = of.params, optimizer.init(of.params), learner.init()
    drive = learner.grad(loss, reduction=reduction)
    losses = []
    for start in range(0, len(of.xs), WINDOW):
        part = slice(start, start + WINDOW)
        result = drive(params, carry, of.xs[part], of.ts[part])
        updates, opt_state = optimizer.update(jax.tree.map(jnp.conj, result.grads), opt_state, params)
        params, carry = optax.apply_updates(params, updates), result.carry
        losses.append(result.losses)
    return params, opt_state, carry, jnp.concatenate(losses)


@pytest.mark.parametrize(
    ("name", "optimizer", "reduction", "backend"),
    [
        ("moving_recurrence", optax.sgd(0.05), "sum", "xla"),
        ("moving_recurrence", optax.adam(0.01), "mean", "reference"),
        ("complex_scale", optax.adam(0.01), "mean", "xla"),
        ("two_maps", optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(0.01)), "sum", "xla"),
    ],
)
def test_training_is_the_loop_by_hand(name: str, optimizer, reduction: str, backend: str):
    of = STRUCTURES[name]
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], window=WINDOW, backend=backend)
    train = learner.train(loss, optimizer, reduction=reduction)
    found = train(of.params, optimizer.init(of.params), learner.init(), of.xs, of.ts)
    wanted = by_hand(learner, of, optimizer, reduction)
    pairs = zip((found.params, found.opt_state, found.carry, found.losses), wanted, strict=True)
    for mine, loop in pairs:
        assert jax.tree.structure(mine) == jax.tree.structure(loop)
        assert max(jax.tree.leaves(jax.tree.map(relative_error, mine, loop)), default=0.0) < 1e-10
    assert found.aux is None
    assert all(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (found.params, of.params)), strict=True))


@pytest.mark.parametrize("window", [1, 2])
def test_a_sequence_may_be_driven_in_pieces(window):
    """What a second length costs no second program for: parameters go on, and gradients add up."""
    of = STRUCTURES["moving_recurrence"]
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], window=window)
    optimizer = optax.adam(0.01)
    train, drive = learner.train(loss, optimizer), learner.grad(loss)
    at_once = train(of.params, optimizer.init(of.params), learner.init(), of.xs, of.ts)
    whole = drive(of.params, learner.init(), of.xs, of.ts)
    half = len(of.xs) // 2 // window * window
    pieces = [(of.xs[part], of.ts[part]) for part in (slice(0, half), slice(half, None))]
    now, carry, sums = (of.params, optimizer.init(of.params), learner.init()), learner.init(), []
    for piece in pieces:
        now = train(*now[:3], *piece)
        result = drive(of.params, carry, *piece)
        carry = result.carry
        sums.append(result.grads)
    found = now[:2], jax.tree.map(jnp.add, *sums), (now[2].states, carry.states)
    wanted = at_once[:2], whole.grads, (at_once.carry.states, whole.carry.states)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < 1e-12


def test_complex_parameters_go_downhill():
    of = STRUCTURES["complex_scale"]
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], window=WINDOW)
    optimizer = optax.sgd(0.01)
    train = learner.train(loss, optimizer)
    params, opt_state = of.params, optimizer.init(of.params)
    sums = []
    for _ in range(4):
        params, opt_state, _, losses, _ = train(params, opt_state, learner.init(), of.xs, of.ts)
        sums.append(float(losses.sum()))
    assert sums == sorted(sums, reverse=True)
    assert np.any(params["C"].imag != of.params["C"].imag)


def test_an_optimiser_may_leave_parameters_alone_and_a_loss_may_say_more():
    of = STRUCTURES["current_to_voltage"]
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], window=WINDOW)
    half = optax.multi_transform({"on": optax.sgd(0.1), "off": optax.set_to_zero()}, {"W": "on", "V": "off"})

    def telling(y, t):
        return loss(y, t), {"y": y}

    found = learner.train(telling, half)(of.params, half.init(of.params), learner.init(), of.xs, of.ts)
    assert np.array_equal(found.params["V"], of.params["V"])
    assert np.any(found.params["W"] != of.params["W"])
    assert found.aux["y"].shape == of.ts.shape
