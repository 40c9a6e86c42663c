"""braintrace's own gradients beside ours and beside backpropagation, on its own cells, in float32 as it computes."""

import warnings
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import by_path, relative_error

import etir

braintrace = pytest.importorskip("braintrace", reason="braintrace is not installed on this leg")
import brainstate  # noqa: E402

CLOSE = 1e-5
INPUTS, HIDDEN, BATCH = 3, 4, 2


class Found(NamedTuple):
    """Gradients by path: braintrace's `D_RTRL`, ours with `credit="rule"`, ours as it is by default, and BPTT's."""

    theirs: dict[str, Any]
    rule: dict[str, Any]
    ours: dict[str, Any]
    bptt: dict[str, Any]


def squares(y, target):
    return jnp.sum((y - target) ** 2)


@cache
def gradients(kind: str, steps: int) -> Found:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # braintrace's own, of relations that it leaves out
        return _gradients(kind, steps)


def _gradients(kind: str, steps: int) -> Found:
    brainstate.random.seed(1)
    cell = getattr(braintrace.nn, kind)(INPUTS, HIDDEN)
    brainstate.nn.init_all_states(cell, BATCH)
    x, t = jax.random.split(jax.random.key(1))
    xs = jax.random.normal(x, (steps, BATCH, INPUTS), "float32")
    model = etir.functionalise(cell, xs[0])
    ts = jax.random.normal(
        t, (steps, *jax.eval_shape(model.step, model.params, model.states, xs[0])[1].shape), "float32"
    )

    def total(params):
        def body(states, at):
            states, y = model.step(params, states, at[0])
            return states, squares(y, at[1])

        return jax.lax.scan(body, model.states, (xs, ts))[1].sum()

    ours = [
        etir.compile(model, xs[0], rule="d_rtrl", credit=credit, on_truncated="ignore") for credit in ("rule", "full")
    ]
    online = [of.grad(squares)(of.params, of.init(), xs, ts).grads for of in ours]
    learner = braintrace.compile(cell, "D_RTRL", xs[0], batch_size=BATCH)
    theirs = learner.etrace_grad(xs, ts, step_fn=lambda x, t: squares(learner(x), t), reduction="sum")
    theirs = {".".join(map(str, path)): value for path, value in theirs.items()}
    return Found(*map(by_path, (theirs, *online, jax.grad(total)(model.params))))


def apart(found: dict[str, Any], wanted: dict[str, Any]) -> set[str]:
    return {path for path, grad in wanted.items() if not relative_error(found[path], grad) <= CLOSE}


@pytest.mark.second_leg
def test_where_both_are_exact_the_numbers_are_one():
    found = gradients("LRUCell", 6)
    assert all(np.any(grad) for grad in found.bptt.values())
    assert apart(found.theirs, found.bptt) == apart(found.ours, found.bptt) == apart(found.ours, found.theirs) == set()


@pytest.mark.second_leg
@pytest.mark.parametrize(
    "kind", ["ValinaRNNCell", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("MiniGRU", "MiniLSTM"))]
)
def test_the_rules_own_credit_is_braintraces(kind: str):
    found = gradients(kind, 4)
    assert apart(found.rule, found.theirs) == set()
    assert apart(found.ours, found.bptt) != set()  # an approximation, as its label says


@pytest.mark.second_leg
def test_the_gates_of_the_lstm_are_counted_twice_there_and_once_here():
    """At one step there is no past, so every rule is backpropagation: the forget gate has a zero state to forget."""
    found = gradients("LSTMCell", 1)
    doubled = {f"W{gate}.weight.{part}" for gate in "gi" for part in ("bias", "weight")}
    assert apart(found.ours, found.bptt) == set()
    assert apart(found.theirs, found.bptt) == doubled
    assert apart(found.theirs, {path: 2 * found.bptt[path] for path in doubled}) == set()


@pytest.mark.second_leg
def test_the_reset_gate_of_the_gru_learns_nothing_there_and_within_a_window_here():
    found = gradients("GRUCell", 4)
    resets = {path for path in found.bptt if path.startswith("Wr.")}
    assert not any(np.any(found.theirs[path]) for path in resets)
    assert all(np.any(found.ours[path]) and np.any(found.bptt[path]) for path in resets)
