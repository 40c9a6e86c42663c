"""Traces that do not move with the states are held through padding, and begin again with sequences."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, differing, settled
from oracles import by_path, loss

import etir
from etir.passes import HoldTraces
from etir.rules import EProp, PpProp, Rflo

LENGTH = 4
"""Of each sequence and of the padding between them: the windows of four steps are then cut alike."""
KEYS = iter(jax.random.split(jax.random.key(0), 8))
PARAMS = {
    "W": 0.5 * jax.random.normal(next(KEYS), (3, 4)),
    "U": 0.3 * jax.random.normal(next(KEYS), (4, 4)),
    "readout": 0.5 * jax.random.normal(next(KEYS), (4, 3)),
}
STATES = {"h": jnp.full((2, 4), 0.1)}
XS, TARGETS = (jax.random.normal(next(KEYS), (2 * LENGTH, 2, 3)) for _ in range(2))
MASK = jnp.array([1] * LENGTH + [0] * LENGTH + [1] * LENGTH + [0] * (LENGTH - 1), bool)
RESET = jnp.zeros(len(MASK), bool).at[2 * LENGTH].set(True)


def step(params: Any, states: Any, x: Any) -> Any:
    drive = etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"])
    h = 0.9 * states["h"] + 0.1 * jnp.tanh(drive)
    return {"h": h}, h @ params["readout"]


def compiled(rule: Any, window: int, **options: Any) -> Any:
    return etir.compile(step, PARAMS, STATES, XS[0], rule=rule, window=window, on_truncated="ignore", **options)


def padded(a: Any, by: float = 3.0) -> jax.Array:
    junk = jnp.full((LENGTH, *a.shape[1:]), by)
    return jnp.concatenate([a[:LENGTH], junk, a[LENGTH:], junk[:-1]])


def signals(rule: Any, targets: Any) -> dict[str, Any]:
    return {"modulator": targets[:, 0, 0]} if rule == "three_factor" else {}


CASES = (
    ("pp_prop", 1, "sample"), ("pp_prop", LENGTH, "sample"), (PpProp(corrected=True), 1, "step"), ("ottt", 1, "sample"),
    (EProp(kappa=0.8), LENGTH, "sample"), (EProp(feedback="random"), 1, "sample"), (Rflo(feedback="random"), 1, "step"),
    ("cascade", LENGTH, "sample"), ("three_factor", 1, "sample"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "window", "each"), CASES, ids=lambda x: getattr(x, "name", x))
def test_two_sequences_and_padding_in_one_run_are_two_runs(rule: Any, window: int, each: str):
    plain, marked = compiled(rule, window), compiled(rule, window, mask=each, reset=each)
    key = jax.random.key(1)

    def alone(start: int) -> Any:
        xs, ts = XS[start : start + LENGTH], TARGETS[start : start + LENGTH]
        return by_path(plain.grad(loss)(PARAMS, plain.init(key=key), xs, ts, **signals(rule, ts)).grads)

    marks = (MASK, RESET) if each == "step" else (jnp.repeat(m[:, None], 2, 1) for m in (MASK, RESET))
    # The loss of samples that do not count is that of outputs of zero: a number, from which nothing is learned.
    found = marked.grad(loss)(
        PARAMS, marked.init(key=key), padded(XS), padded(TARGETS), **dict(zip(("mask", "reset"), marks, strict=True)),
        **signals(rule, padded(TARGETS)),
    )  # fmt: skip
    wanted = {path: grad + other for (path, grad), other in zip(alone(0).items(), alone(LENGTH).values(), strict=True)}
    assert differing(by_path(found.grads), wanted, EXACT) == {}
    assert str(marked.certificate["readout"]) == str(plain.certificate["readout"])
    labels = [[entry.label for entry in learner.certificate] for learner in (plain, marked)]
    assert labels[0] == labels[1]


@pytest.mark.parametrize("rule", ["pp_prop", "uoro", "kf_rtrl"])
def test_a_step_that_does_not_count_moves_nothing(rule: str):
    learner = compiled(rule, 2, mask="step")
    counts = jnp.ones(4, bool)
    before, _ = learner.window(PARAMS, learner.init(key=jax.random.key(1)), XS[:4], mask=counts)
    found = learner.grad(loss)(PARAMS, before, XS[4:], TARGETS[4:], mask=~counts)
    pairs = zip(*(jax.tree.leaves(settled(learner, carry)) for carry in (before, found.carry)), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert not any(np.any(x) for x in jax.tree.leaves((found.grads, found.losses)))


@pytest.mark.parametrize("each", ["step", "sample"])
def test_a_predictor_learns_of_windows_with_steps_that_count(each: str):
    plain, marked = compiled("dni", LENGTH), compiled("dni", LENGTH, mask=each)
    key, mask = jax.random.key(1), MASK if each == "step" else jnp.repeat(MASK[:, None], 2, 1)
    wanted = plain.grad(loss)(PARAMS, plain.init(key=key), XS, TARGETS)
    found = marked.grad(loss)(PARAMS, marked.init(key=key), padded(XS), padded(TARGETS), mask=mask)
    assert differing(by_path(found.grads), by_path(wanted.grads), EXACT) == {}
    pairs = zip(marked.traces(found.carry), plain.traces(wanted.carry), strict=True)
    assert all(np.allclose(a, b, rtol=1e-9, atol=0) for a, b in pairs)


def test_a_predictor_does_not_learn_of_a_sample_that_does_not_count():
    learner = compiled("dni", 2, mask="sample")
    single = etir.compile(step, PARAMS, {"h": STATES["h"][:1]}, XS[0, :1], rule="dni", window=2)
    mask, ts = jnp.ones(XS.shape[:2], bool).at[:, 1].set(False), TARGETS.at[:, 1].set(0)
    found = learner.grad(loss)(PARAMS, learner.init(key=jax.random.key(1)), XS, ts, mask=mask)
    alone = single.grad(loss)(PARAMS, single.init(key=jax.random.key(1)), XS[:, :1], ts[:, :1])
    assert differing(by_path(found.grads), by_path(alone.grads), EXACT) == {}
    assert all(map(np.allclose, learner.traces(found.carry), single.traces(alone.carry)))


def test_samples_that_end_at_different_steps_are_each_alone():
    lengths = (3, 6)
    learner = compiled("pp_prop", 2, mask="sample")
    single = etir.compile(step, PARAMS, {"h": STATES["h"][0]}, XS[0, 0], rule="pp_prop", window=2)
    mask = jnp.arange(len(XS))[:, None] < jnp.array(lengths)
    found = learner.grad(loss)(PARAMS, learner.init(), XS, TARGETS * mask[..., None], mask=mask).grads
    alone = [
        single.grad(loss)(PARAMS, single.init(), XS[:n, k], TARGETS[:n, k]).grads for k, n in enumerate(lengths)
    ]  # fmt: skip
    assert differing(by_path(found), by_path(jax.tree.map(jnp.add, *alone)), EXACT) == {}


def leaky(params: Any, states: Any, x: Any) -> Any:
    h = 0.9 * states["h"] + etir.matmul(x, params["W"])
    return {"h": h}, jnp.tanh(h) @ params["readout"]


@pytest.mark.parametrize("window", [1, 3])
def test_learned_states_begin_every_sequence(window: int):
    """And samples that have not begun yet begin with them: BPTT of the sequences, each by itself."""
    learner: Any = etir.compile(
        leaky, PARAMS, STATES, XS[0], window=window, initial="h", mask="sample", reset="sample", on_truncated="ignore"
    )
    mask = jnp.ones((8, 2), bool).at[:2, 1].set(False)
    reset = jnp.zeros((8, 2), bool).at[5, 0].set(True)
    first = {"h": jax.random.normal(jax.random.key(2), (2, 4))}
    targets = TARGETS * mask[..., None]
    found = learner.grad(loss)(PARAMS, learner.init(PARAMS, first), XS, targets, mask=mask, reset=reset)

    def total(params: Any, first: Any) -> jax.Array:
        return sum(
            (run(params, first["h"][k], XS[a:b, k], TARGETS[a:b, k]) for k, a, b in ((0, 0, 5), (0, 5, 8), (1, 2, 8))),
            start=jnp.zeros(()),
        )

    def run(params: Any, h: Any, xs: Any, ts: Any) -> Any:
        def body(states: Any, at: Any) -> Any:
            states, y = leaky(params, states, at[0])
            return states, loss(y, at[1])

        return jax.lax.scan(body, {"h": h}, (xs, ts))[1].sum()

    wanted = jax.jit(jax.grad(total, (0, 1)))(PARAMS, first)
    names = ("W", "readout")
    assert {str(learner.certificate[path].label) for path in ("W", "readout", "initial.h")} == {"exact"}
    assert differing({k: found.grads[k] for k in names}, {k: np.asarray(wanted[0][k]) for k in names}, EXACT) == {}
    assert differing(found.initial, {"h": np.asarray(wanted[1]["h"])}, EXACT) == {}


def test_what_holds_a_trace_is_in_the_plan():
    transition = compiled("pp_prop", 2, mask="step", reset="step").transition
    text = " ".join(str(transition).split())
    assert "%X_W_begun : f64[2,3] = select(mark=%reset, off=%X_W)" in text
    assert "%X_W_next : f64[2,3] = select(mark=%mask, on=%X_W_next_moved, off=%X_W_begun)" in text
    assert HoldTraces().run(transition) is transition
    without = compiled("pp_prop", 2).transition
    assert HoldTraces().run(without) is without
