"""Numbers that are not finite are found at the step where they began, by name, and what was good before is kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import relative_error

import etir

WINDOW, LENGTH = 3, 10
PARAMS = {"W": 0.3 * jax.random.normal(jax.random.key(0), (2, 4)), "readout": jnp.ones((4, 1))}
STATES = {"h": jnp.full(4, 0.5)}
XS = jax.random.normal(jax.random.key(1), (LENGTH, 2))
TARGETS = jnp.ones((LENGTH, 1))


def step(params: Any, states: Any, x: Any) -> Any:
    """A leak that is not finite for an input of 9, and has no derivative for one of 8."""
    given = jax.lax.stop_gradient(x[0])
    bad = jnp.where(given == 9, jnp.inf, 0.0)
    zero = jnp.where(given == 8, states["h"] - jax.lax.stop_gradient(states["h"]), 1.0)
    rough = jnp.where(given == 8, jnp.sqrt(zero), 0.0)
    h = 0.9 * states["h"] + etir.matmul(x, params["W"]) + bad + rough
    return {"h": h}, h @ params["readout"]


def loss(y: Any, target: Any) -> Any:
    return jnp.mean((y - target) ** 2)


def learner_of(**options: Any) -> Any:
    return etir.compile(step, PARAMS, STATES, XS[0], window=WINDOW, **options)


def exploding() -> Any:
    """An optimiser whose second update is infinite."""
    return optax.inject_hyperparams(optax.sgd)(lambda count: jnp.where(count == 1, jnp.inf, 0.1))


SGD = optax.sgd(0.1)
CASES = {
    "state 'h' is infinite at step 7": (XS.at[7, 0].set(9.0), TARGETS, SGD, 6),
    "input 'x' is NaN at step 4": (XS.at[4, 1].set(jnp.nan), TARGETS, SGD, 3),
    "the loss is NaN at step 9": (XS, TARGETS.at[9].set(jnp.nan), SGD, 9),
    "trace 'W on h' is infinite at step 5": (XS.at[5, 0].set(8.0), TARGETS, SGD, 3),
    "parameter 'W' is infinite after the update at the end of the window from step 3 to step 5":
        (XS, TARGETS, exploding(), 3),
}  # fmt: skip


@pytest.mark.parametrize("said", CASES)
def test_what_began_it_is_named_and_what_came_before_is_kept(said: str):
    xs, targets, optimizer, good = CASES[said]
    learner = learner_of()
    begin = PARAMS, optimizer.init(PARAMS), learner.init()
    with pytest.warns(etir.EtirWarning) as warned:
        found = learner.train(loss, optimizer, on_nonfinite="stop")(*begin, xs, targets)
    assert str(warned[0].message).startswith(
        f"warning: {said}, and everything before it is finite [became-nonfinite]\n"
        f"  note: the steps before the window that it is in, {good} of this call, are trained and kept\n"
    )
    wanted = learner.train(loss, optimizer)(*begin, xs[:good], targets[:good]) if good else begin
    assert len(found.losses) == good
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found[:3], wanted[:3]))) < 1e-12


def test_nothing_in_the_first_window_is_kept_but_what_was_given():
    learner = learner_of(initial="h")
    begin = PARAMS, SGD.init(PARAMS), learner.init()
    with pytest.raises(etir.NonFiniteError) as refused:
        learner.train(loss, SGD, on_nonfinite="raise")(*begin, XS.at[1, 0].set(9.0), TARGETS)
    assert "state 'h' is infinite at step 1" in str(refused.value)
    kept = refused.value.trained
    assert kept.losses.shape == (0,)
    pairs = zip(jax.tree.leaves(kept[:3]), jax.tree.leaves(begin), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_where_all_is_finite_training_is_what_it_is():
    learner = learner_of()
    begin = PARAMS, SGD.init(PARAMS), learner.init()
    found, wanted = (
        learner.train(loss, SGD, on_nonfinite=choice)(*begin, XS, TARGETS) for choice in ("raise", "ignore")
    )
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < 1e-12


def traced() -> Any:
    learner = learner_of()
    train = learner.train(loss, SGD, on_nonfinite="stop")
    return jax.jit(train)(PARAMS, SGD.init(PARAMS), learner.init(), XS, TARGETS)


CALLS = {
    "error: on_nonfinite='stop' looks at numbers, and inside a transform of JAX there are none yet [nonfinite-traced]\n"
    "  help: call it outside jax.jit: it is compiled by itself; or leave on_nonfinite= out": traced,
    "error: on_nonfinite='halt'; wanted one of 'ignore', 'stop', 'raise' [unknown-option]":
        lambda: learner_of().train(loss, SGD, on_nonfinite="halt"),
    "error: on_nonfinite='raise' takes training back to the last good window, which resumable=True may hold open "
    "[option-pair]\n  help: leave one out; a call that is resumable can be checked by its losses":
        lambda: learner_of().train(loss, SGD, on_nonfinite="raise", resumable=True),
}  # fmt: skip


@pytest.mark.parametrize("said", CALLS)
def test_what_is_refused(said: str):
    with pytest.raises(etir.EtirError) as refused:
        CALLS[said]()
    assert said in str(refused.value)
