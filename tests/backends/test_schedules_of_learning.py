"""Losses of steps, of windows and of states, accumulated gradients, micro-batches and `vmap`, beside BPTT by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from learners import EXACT, differing
from oracles import by_path

import etir

WINDOW, LENGTH, BATCH = 3, 12, 4
KEYS = iter(jax.random.split(jax.random.key(0), 8))
PARAMS = {
    "W": 0.5 * jax.random.normal(next(KEYS), (3, 5)),
    "a": jax.nn.sigmoid(jax.random.normal(next(KEYS), (5,)) + 1),
    "readout": 0.5 * jax.random.normal(next(KEYS), (5, 2)),
}
STATES = {"h": 0.1 * jax.random.normal(next(KEYS), (BATCH, 5))}
XS = jax.random.normal(next(KEYS), (LENGTH, BATCH, 3))
TARGETS = jax.random.normal(next(KEYS), (LENGTH, BATCH, 2))


def step(params: Any, states: Any, x: Any) -> Any:
    h = etir.scale(states["h"], params["a"]) + jnp.tanh(etir.matmul(x, params["W"]))
    return {"h": h}, h @ params["readout"]


def loss(y: Any, target: Any) -> Any:
    return jnp.sum((y - target) ** 2)


def learner_of(window: int = WINDOW) -> Any:
    return etir.compile(step, PARAMS, STATES, XS[0], window=window)


def run(params: Any, states: Any, xs: Any) -> Any:
    """States and outputs of every step, by a plain scan."""

    def body(states: Any, x: Any) -> Any:
        states, y = step(params, states, x)
        return states, (states, y)

    return jax.lax.scan(body, states, xs)[1]


def test_losses_of_windows():
    """One number a window, no sum of steps: the squared mean of its outputs."""
    learner = learner_of()

    def of_window(ys: Any) -> Any:
        return jnp.sum(jnp.mean(ys, 0) ** 2)

    @jax.jit
    def online(params: Any) -> Any:
        def body(now: Any, xs: Any) -> Any:
            def total(params: Any) -> Any:
                carry, ys = learner.window(params, now[0], xs)
                return of_window(ys), carry

            grads, carry = jax.grad(total, has_aux=True)(params)
            return (carry, jax.tree.map(jnp.add, now[1], grads)), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(body, (learner.init(), zeros), XS.reshape(-1, WINDOW, BATCH, 3))[0][1]

    def wanted(params: Any) -> Any:
        ys = run(params, STATES, XS)[1].reshape(-1, WINDOW, BATCH, 2)
        return jnp.sum(jax.vmap(of_window)(ys))

    assert differing(by_path(online(PARAMS)), by_path(jax.grad(wanted)(PARAMS)), EXACT) == {}


def test_a_penalty_on_the_states_of_the_carry():
    learner = learner_of(1)

    def penalised(states: Any, y: Any, target: Any) -> Any:
        return loss(y, target) + 0.3 * jnp.sum(jax.nn.relu(states["h"] - 0.2) ** 2)

    @jax.jit
    def online(params: Any) -> Any:
        def body(now: Any, at: Any) -> Any:
            def total(params: Any) -> Any:
                carry, y = learner.step(params, now[0], at[0])
                return penalised(carry.states, y, at[1]), carry

            grads, carry = jax.grad(total, has_aux=True)(params)
            return (carry, jax.tree.map(jnp.add, now[1], grads)), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(body, (learner.init(), zeros), (XS, TARGETS))[0][1]

    def wanted(params: Any) -> Any:
        return jnp.sum(jax.vmap(penalised)(*run(params, STATES, XS), TARGETS))

    assert differing(by_path(online(PARAMS)), by_path(jax.grad(wanted)(PARAMS)), EXACT) == {}


def test_gradients_are_accumulated_over_windows_by_the_optimiser():
    """`optax.MultiSteps` inside the scan: an update every second window, by the mean of two windows' own gradients."""
    learner, optimizer = learner_of(), optax.MultiSteps(optax.sgd(0.05), every_k_schedule=2)
    found = learner.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), learner.init(), XS, TARGETS)
    params, own, h = PARAMS, optimizer.init(PARAMS), STATES["h"]
    e = {"W": jnp.zeros((BATCH, 3, 5)), "a": jnp.zeros((BATCH, 5))}  # the influence on h, element by element
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    sums = zeros
    for t in range(LENGTH):
        drive = jnp.tanh(XS[t] @ params["W"])
        e["W"] = params["a"] * e["W"] + XS[t][:, :, None] * (1 - drive**2)[:, None, :]
        e["a"] = params["a"] * e["a"] + h
        h = params["a"] * h + drive
        bar = 2 * (h @ params["readout"] - TARGETS[t])
        back = bar @ params["readout"].T
        grads = {
            "W": jnp.einsum("bj,bij->ij", back, e["W"]), "a": jnp.sum(back * e["a"], 0), "readout": h.T @ bar,
        }  # fmt: skip
        sums = jax.tree.map(jnp.add, sums, grads)
        if (t + 1) % WINDOW == 0:
            updates, own = optimizer.update(sums, own, params)
            params, sums = optax.apply_updates(params, updates), zeros
    assert own.gradient_step == 2
    assert differing(by_path(found.params), by_path(params), EXACT) == {}


def test_micro_batches_add_up_and_samples_are_mapped():
    """Two halves of the batch, compiled for when they are met; and one learner of a sample, under `jax.vmap`."""
    learner = learner_of()
    drive = learner.grad(lambda y, t: (loss(y, t), y), reduction="sum")
    whole = drive(PARAMS, learner.init(), XS, TARGETS)
    parts = [
        drive(PARAMS, learner.init(PARAMS, {"h": STATES["h"][k]}), XS[:, k], TARGETS[:, k])
        for k in (slice(0, 2), slice(2, 4))
    ]
    summed = jax.tree.map(jnp.add, parts[0].grads, parts[1].grads)
    assert differing(by_path(summed), by_path(whole.grads), EXACT) == {}
    assert np.allclose(jnp.concatenate([part.aux for part in parts], 1), whole.aux, rtol=1e-12)
    single = etir.compile(step, PARAMS, {"h": STATES["h"][0]}, XS[0, 0], window=WINDOW)
    carries = jax.vmap(lambda h: single.init(PARAMS, {"h": h}))(STATES["h"])
    mapped = jax.vmap(single.grad(loss), (None, 0, 1, 1))(PARAMS, carries, XS, TARGETS)
    assert differing(by_path(jax.tree.map(lambda g: g.sum(0), mapped.grads)), by_path(whole.grads), EXACT) == {}
    wanted = jax.grad(lambda p: jnp.sum(jax.vmap(loss)(run(p, STATES, XS)[1], TARGETS)))(PARAMS)
    assert differing(by_path(whole.grads), by_path(wanted), EXACT) == {}
