"""Labels of traces that no output sees, and of states that nobody reads: checked against BPTT, window by window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, by_path, loss, relative_error

import etir

XS = jax.random.normal(jax.random.key(0), (12, 3))
FED = etir.rules.SnAp(n=1)
"""Traces at the positions that a site feeds, and at no other."""
PARAMS = {"W": jax.random.normal(jax.random.key(1), (3, 2))}


def delayed(params, states, x):
    """A delay line of five places: what is written comes out five steps later."""
    line = jnp.concatenate([etir.matmul(x, params["W"])[None], states["line"][:-1]])
    return {"line": line}, states["line"][-1]


def logged(params, states, x):
    """A state that is written, by an operation that mixes positions, and never read."""
    y = etir.matmul(x, params["W"])
    h = 0.5 * states["h"] + jnp.tanh(y)
    return {"h": h, "log": 0.9 * states["log"] + jnp.sort(y)}, h


def unread(params, states, x):
    """The weight reaches a state that no output ever depends on."""
    return {"log": 0.9 * states["log"] + etir.matmul(x, params["W"])}, x @ params["W"]


def learnt(step, states, window, rule="d_rtrl"):
    learner = etir.compile(step, PARAMS, states, XS[0], rule=rule, window=window, on_truncated="ignore")
    ts = jnp.ones((len(XS), *jax.eval_shape(step, PARAMS, states, XS[0])[1].shape))
    grads = learner.grad(loss)(PARAMS, learner.init(), XS, ts).grads
    exact, cut = (bptt(step, PARAMS, states, (XS,), ts, window=k).grads for k in (None, window))
    return learner.certificate["W"], by_path(grads)["W"], exact["W"], cut["W"]


@pytest.mark.parametrize("window", [1, 4])
def test_a_trace_that_no_output_of_a_window_sees_is_truncated(window: int):
    label, found, exact, cut = learnt(delayed, {"line": jnp.zeros((5, 2))}, window, FED)
    assert (str(label.label), str(label.reasons[0])) == (
        "truncated",
        f"no output of a window of {window} reads the positions that its trace follows",
    )
    assert np.any(exact)
    np.testing.assert_array_equal(found, cut)


def test_a_trace_that_a_longer_window_sees_is_not():
    label, found, exact, cut = learnt(delayed, {"line": jnp.zeros((5, 2))}, 6, FED)
    assert str(label.label) == "approximate"
    assert relative_error(found, exact) > 1e-3
    assert relative_error(found, cut) > 1e-3


@pytest.mark.parametrize("window", [1, 4])
def test_a_trace_that_is_followed_along_a_delay_line_is_exact(window: int):
    label, found, exact, cut = learnt(delayed, {"line": jnp.zeros((5, 2))}, window)
    assert str(label.label) == "exact"
    assert relative_error(found, exact) < 1e-12
    assert not np.any(cut)


def test_a_state_that_is_written_and_never_read_drops_nothing():
    label, found, exact, _ = learnt(logged, {"h": jnp.zeros(2), "log": jnp.zeros(2)}, 2)
    assert str(label.label) == "exact"
    assert relative_error(found, exact) < 1e-12


def test_a_weight_that_only_an_unread_state_sees_needs_no_trace():
    label, found, exact, _ = learnt(unread, {"log": jnp.zeros(2)}, 2)
    assert (str(label.label), str(label.reasons[0])) == (
        "exact",
        "reaches no hidden state that an output depends on: its gradient needs no trace",
    )
    assert relative_error(found, exact) < 1e-12
