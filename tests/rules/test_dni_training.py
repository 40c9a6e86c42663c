"""dni over many calls: what it learns, what it is called with, and what it does that truncation cannot."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import EXACT, differing
from oracles import by_path, loss, relative_error
from snippets import expected

import etir
from etir.rules import Dni

UNITS = 4


def step(p: Any, s: Any, x: Any) -> Any:
    h = jnp.tanh(etir.matmul(jnp.concatenate([x, s["h"]], -1), p["W"]))
    return {"h": h}, etir.matmul(h, p["out"])


def numbers(steps: int) -> Any:
    """Parameters, states, inputs and targets in float64."""
    keys = jax.random.split(jax.random.key(0), 4)
    params = {"W": jax.random.normal(keys[0], (2 + UNITS, UNITS)), "out": jax.random.normal(keys[1], (UNITS, 2))}
    xs, ts = (jax.random.normal(key, (steps, 2)) for key in keys[2:])
    return params, {"h": jnp.zeros(UNITS)}, xs, ts


def test_the_predictor_learns_from_call_to_call():
    """Two calls with the carry handed on are one call over both."""
    params, states, xs, ts = numbers(20)
    learner = etir.compile(step, params, states, xs[0], rule=Dni(learning_rate=0.05), window=5)
    gradient = learner.grad(loss)
    whole = gradient(params, learner.init(), xs, ts)
    first = gradient(params, learner.init(), xs[:10], ts[:10])
    second = gradient(params, first.carry, xs[10:], ts[10:])
    sums = jax.tree.map(jnp.add, first.grads, second.grads)
    assert differing(by_path(sums), by_path(whole.grads)) == {}
    for one, other in zip(second.carry.traces, whole.carry.traces, strict=True):
        assert relative_error(one, other) < EXACT
    again = gradient(params, learner.reset(first.carry), xs[:10], ts[:10])
    assert relative_error(again.grads["W"], first.grads["W"]) > 1e-3, "what was learned is kept for another sequence"
    assert relative_error(again.grads["out"], first.grads["out"]) < EXACT, "and exact gradients stay what they are"


def test_training_is_a_gradient_and_an_update_for_each_window():
    """Also for a last window that is shorter."""
    params, states, xs, ts = numbers(11)
    learner = etir.compile(step, params, states, xs[0], rule=Dni(hidden=3, learning_rate=0.05), window=4)
    optimizer, start = optax.sgd(0.1), learner.init(key=jax.random.key(1))
    trained = learner.train(loss, optimizer)(params, optimizer.init(params), start, xs, ts)
    carry = start
    for piece in (slice(0, 4), slice(4, 8), slice(8, 11)):
        found = learner.grad(loss)(params, carry, xs[piece], ts[piece])
        params, carry = jax.tree.map(lambda p, g: p - 0.1 * g, params, found.grads), found.carry
    assert differing(by_path(trained.params), by_path(params)) == {}
    assert relative_error(trained.carry.traces[0], carry.traces[0]) < EXACT


def test_keys_give_independent_predictors():
    """Under `vmap` over keys each is what it is alone."""
    params, states, xs, ts = numbers(10)
    learner = etir.compile(step, params, states, xs[0], rule=Dni(hidden=3, learning_rate=0.05), window=5)

    def predictor(key: Any) -> Any:
        return learner.grad(loss)(params, learner.init(key=key), xs, ts).carry.traces[0]

    keys = jax.random.split(jax.random.key(4), 2)
    both = jax.vmap(predictor)(keys)
    for key, found in zip(keys, both, strict=True):
        assert relative_error(found, predictor(key)) < EXACT
    assert relative_error(both[0], both[1]) > 0.1


def test_what_begins_as_a_random_network_needs_a_key():
    params, states, xs, _ = numbers(1)
    learner = etir.compile(step, params, states, xs[0], rule=Dni(hidden=3))
    with pytest.raises(etir.EtirError) as failure:
        learner.init()
    assert str(failure.value) == expected("""
        error: rule 'dni' draws random numbers, and learner.init was given no key [key-missing]
          help: pass learner.init(params, states, key=jax.random.key(0))
    """)
    etir.compile(step, params, states, xs[0], rule="dni").init()


@pytest.mark.parametrize("method", ["step", "window"])
def test_a_step_alone_cannot_teach_the_predictor(method: str):
    params, states, xs, _ = numbers(3)
    learner = etir.compile(step, params, states, xs[0], rule="dni")
    with pytest.raises(etir.EtirError) as failure:
        getattr(learner, method)(params, learner.init(), xs[0] if method == "step" else xs)
    assert str(failure.value) == expected("""
        error: trace 'predictor of later credit' is advanced by what the loss sends back, which a step or a window alone does not know [loss-in-trace]
          help: use learner.grad or learner.train, which are given the loss
    """)  # noqa: E501


def test_states_of_other_leading_axes_have_predictors_of_their_own():
    """A number, a vector, and a batch; a half and a complex precision."""

    def mixed(p: Any, s: Any, x: Any) -> Any:
        new = {k: 0.5 * h + (p["w"] * x).sum().astype(h.dtype) for k, h in s.items()}
        return new, sum(jnp.abs(h).astype(jnp.float32).sum() for h in new.values())

    kinds = {
        "number": ((), "float64"),
        "vector": ((3,), "float16"),
        "other": ((2,), "complex64"),
        "batch": ((2, 3), "float32"),
    }
    states = {name: jnp.zeros(shape, dtype) for name, (shape, dtype) in kinds.items()}
    params, xs = {"w": jnp.ones(3)}, jnp.ones((6, 3))
    learner = etir.compile(mixed, params, states, xs[0], rule="dni", window=2)
    found = learner.grad(lambda y: y)(params, learner.init(), xs)
    vector = found.carry.traces[0]
    together, batch = 1 + 3 + 2 * 2, 3  # real coordinates on the last axis, by leading axes
    assert vector.shape == (together * (together + 1) + batch * (batch + 1),)
    assert np.all(np.isfinite(vector))
    assert np.any(np.asarray(vector))


# What truncation cannot learn

SYMBOLS, STREAMS, WINDOW, DELAY, TRIAL, MEMORY = 4, 32, 4, 12, 16, 16


def memory_step(p: Any, s: Any, cue: Any, noise: Any) -> Any:
    """A leaky memory; weights bring the cue into it, and read it out."""
    h = 0.9 * s["h"] + etir.matmul(cue, p["cue"]) + noise
    return {"h": h}, etir.matmul(h, p["readout"]) + p["bias"]


def trials(key: Any, count: int) -> Any:
    """Trials without end: a symbol is shown for one step, and asked for after three windows of noise."""
    of_symbol, of_noise = jax.random.split(key)
    symbol = jax.random.randint(of_symbol, (count, 1, STREAMS), 0, SYMBOLS)
    time = jnp.arange(TRIAL)[:, None]
    cue = jax.nn.one_hot(symbol, SYMBOLS, dtype=jnp.float32) * (time == 0)[..., None]
    noise = 0.1 * jax.random.normal(of_noise, (count, TRIAL, STREAMS, MEMORY), jnp.float32)
    asked = jnp.broadcast_to(time == DELAY, (count, TRIAL, STREAMS)).astype(jnp.float32)
    parts = cue, noise, jnp.broadcast_to(symbol, asked.shape), asked
    return [part.reshape(count * TRIAL, *part.shape[2:]) for part in parts]


def entropy(logits: Any, answer: Any, asked: Any) -> Any:
    """The cross-entropy where an answer is asked for; beside it, how many were right, and how many there were."""
    right = asked * (logits.argmax(-1) == answer)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, answer)
    return jnp.sum(asked * losses) / STREAMS, jnp.stack([right.sum(), asked.sum()])


def recalled(rule: Any) -> tuple[float, Any]:
    """How many of the last answers of a training run are right, and how far the cue's weights were moved."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = {
        "cue": 0.02 * jax.random.normal(keys[0], (SYMBOLS, MEMORY), jnp.float32),
        "readout": 0.3 * jax.random.normal(keys[1], (MEMORY, SYMBOLS), jnp.float32),
        "bias": jnp.zeros(SYMBOLS, jnp.float32),
    }
    cue, noise, answers, asked = trials(keys[2], 500)
    states = {"h": jnp.zeros((STREAMS, MEMORY), jnp.float32)}
    learner = etir.compile(memory_step, params, states, cue[0], noise[0], rule=rule, window=WINDOW)
    optimizer = optax.adam(0.01)
    run = learner.train(entropy, optimizer)
    trained = run(params, optimizer.init(params), learner.init(), (cue, noise), answers, asked)
    right, count = trained.aux[-100 * TRIAL :].sum(0)
    return float(right / count), np.abs(trained.params["cue"] - params["cue"]).max()


def test_it_learns_what_truncation_cannot():
    """The cue and the question are three windows apart.

    No loss is in the window of a cue, so truncation leaves the cue's weights where they began, to the bit; noise hides
    what they bring, and a quarter of the answers are right.
    """
    accuracy, moved = recalled("bptt")
    assert moved == 0
    assert accuracy < 0.35
    accuracy, moved = recalled(Dni(learning_rate=3e-3))
    assert moved > 0.5
    assert accuracy > 0.9


def test_a_linear_predictor_finds_the_derivative_of_all_later_losses():
    """`h' = h A + noise` with losses `|h|^2 / 2` has `dL/dh = h sum_k A^k (A^k)^T`, whatever the window."""
    matrix = 0.5 * np.asarray(jax.random.orthogonal(jax.random.key(0), 3)) + 0.2 * np.eye(3)
    wanted = sum(np.linalg.matrix_power(matrix, k) @ np.linalg.matrix_power(matrix, k).T for k in range(1, 60))

    def noisy(p: Any, s: Any, x: Any) -> Any:
        h = etir.matmul(s["h"], p["A"]) + x
        return {"h": h}, h

    xs = jax.random.normal(jax.random.key(1), (6000, 16, 3))
    params, states = {"A": jnp.asarray(matrix)}, {"h": jnp.zeros((16, 3))}
    learner = etir.compile(noisy, params, states, xs[0], rule=Dni(learning_rate=2e-3), window=2)
    carry = learner.grad(lambda h: jnp.sum(h**2) / 2)(params, learner.init(), xs).carry
    slope, offset = carry.traces[0][:9].reshape(3, 3), carry.traces[0][9:]
    assert relative_error(slope, wanted) < 0.1
    assert np.abs(offset).max() < 0.1
