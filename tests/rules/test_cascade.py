"""cascade against its recursion written out by hand, against BPTT where it is exact, and what its labels say."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import contract_faults, differing, labels_of
from oracles import bptt, by_path, loss, relative_error

import etir
from etir.ir.diagnostics import EtirError
from etir.ir.parser import parse
from etir.ir.plan import Advance, Passed, Recall, Scalar
from etir.ir.plan.exponentials import choose, coefficients
from etir.ir.plan.exponentials import relative_error as powers_left
from etir.ir.printer import render
from etir.rules import Cascade

BACKENDS = ("xla", "reference")
MORE = ("two_layer_leaky", "two_layer_rnn", "lif_current_recurrent", "lru_pair", "lstm", "gru_reset_before_fused")
N, INPUTS, STEPS = 5, 3, 23
DRAW = np.random.default_rng(0)
BELOW, ABOVE = 1 - np.exp(DRAW.uniform(np.log(0.02), np.log(0.5), (2, N)))
XS, TS = DRAW.normal(size=(STEPS, INPUTS)), DRAW.normal(size=(STEPS, N))


def normal(*shape: int) -> Any:
    return jnp.asarray(DRAW.normal(size=shape) / shape[0] ** 0.5)


WEIGHTS = {"W": normal(INPUTS, N), "V": normal(N, N)}
FACTORS = {"a": jnp.asarray(ABOVE)}
REST = {"h": jnp.zeros(N), "k": jnp.zeros(N)}


def leaky(p: Any, s: Any, x: Any) -> Any:
    """Two layers of memories whose factors are written in the step, or those of the upper one learnt."""
    h = BELOW * s["h"] + etir.matmul(x, p["W"])
    kept = etir.scale(s["k"], p["a"]) if "a" in p else ABOVE * s["k"]
    k = kept + etir.matmul(jnp.tanh(h), p["V"])
    return {"h": h, "k": k}, k


def gated(p: Any, s: Any, x: Any) -> Any:
    """The upper memory has a gate."""
    h = BELOW * s["h"] + etir.matmul(x, p["W"])
    f = jax.nn.sigmoid(2 + etir.matmul(x, p["G"]))
    k = f * s["k"] + (1 - f) * etir.matmul(jnp.tanh(h), p["V"])
    return {"h": h, "k": k}, k


RINGS = 0.9 * np.exp(1j * np.array([0.05, 0.2, 0.4]))
TURNING = {"B": normal(INPUTS, N), "C": normal(N, 3) + 1j * normal(N, 3), "R": normal(3, N) - 1j * normal(3, N)}


def turning(p: Any, s: Any, x: Any) -> Any:
    """Two layers of complex memories, a complex product and a real part between; `R` has no state of its own."""
    h = BELOW * np.exp(0.1j * np.arange(N)) * s["h"] + etir.matmul(x, p["B"])
    k = RINGS * s["k"] + etir.matmul(etir.matmul(h, p["C"]).real, p["M"])
    return {"h": h, "k": k}, etir.matmul(k, p["R"]).real


def learner_of(step: Any, params: Any, rule: Any, window: int = 1, backend: str = "xla", states: Any = None) -> Any:
    return etir.compile(
        step, params, REST if states is None else states, jnp.asarray(XS[0]),
        rule=rule, window=window, backend=backend, on_truncated="ignore",
    )  # fmt: skip


def learned(learner: Any, params: Any, states: Any = None) -> Any:
    start = learner.init(params, REST if states is None else states)
    return by_path(jax.jit(learner.grad(loss, reduction="sum"))(params, start, jnp.asarray(XS), jnp.asarray(TS)).grads)


@cache
def wanted(step: Any, *names: str) -> Any:
    params = {name: {**WEIGHTS, **FACTORS}[name] for name in names}
    return bptt(step, params, REST, (jnp.asarray(XS),), jnp.asarray(TS)).grads


def by_hand(constants: np.ndarray) -> np.ndarray:
    """The gradient of `W` at window 1, in plain NumPy: `E`, `F_r`, and coefficients fitted by least squares."""
    powers, fitted = ABOVE ** np.arange(3000)[:, None], constants ** np.arange(3000)[:, None]
    c = np.linalg.lstsq(fitted, powers, rcond=None)[0]
    W, V = (np.asarray(WEIGHTS[k]) for k in "WV")
    h, k, trace, gradient = np.zeros(N), np.zeros(N), np.zeros((INPUTS, N)), np.zeros((INPUTS, N))
    filtered = np.zeros((len(constants), INPUTS, N))
    for x, t in zip(XS, TS, strict=True):
        h = BELOW * h + x @ W
        slope = 1 - np.tanh(h) ** 2
        k = ABOVE * k + np.tanh(h) @ V
        entering = ABOVE * (k - t)
        trace_now = BELOW * trace + x[:, None]
        gradient += (V @ (k - t)) * slope * trace_now
        gradient += sum((V @ (c[r] * entering)) * filtered[r] for r in range(len(constants)))
        trace = trace_now
        filtered = constants[:, None, None] * filtered + slope * trace
    return gradient


def constants_of(learner: Any) -> np.ndarray:
    (recall,) = (op for op in learner.transition.plan.at_window if isinstance(op, Recall))
    return np.array([real for real, _ in recall.constants])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_recursion_by_hand(backend: str):
    learner = learner_of(leaky, WEIGHTS, Cascade(constants=2), backend=backend)
    found = learned(learner, WEIGHTS)
    assert relative_error(found["W"], by_hand(constants_of(learner))) < 2e-3  # the fit by hand does not fade
    assert relative_error(found["V"], wanted(leaky, "W", "V")["V"]) < 1e-12


@pytest.mark.parametrize(("window", "backend"), [(1, "reference"), (2, "xla"), (5, "xla"), (5, "reference")])
def test_as_many_constants_as_factors_are_exact(window: int, backend: str):
    learner = learner_of(leaky, WEIGHTS, Cascade(constants=N), window, backend)
    assert labels_of(learner) == {"W": "exact", "V": "exact"}
    assert differing(learned(learner, WEIGHTS), wanted(leaky, "W", "V")) == {}


def test_more_constants_less_error_and_no_more_memory_than_was_asked_for():
    plain = learner_of(leaky, WEIGHTS, "d_rtrl")
    size = sum(t.before.type.bytes for t in plain.transition.plan.traces)
    errors = [relative_error(learned(plain, WEIGHTS)["W"], wanted(leaky, "W", "V")["W"])]
    for count in (1, 2, 3):
        learner = learner_of(leaky, WEIGHTS, Cascade(constants=count))
        errors.append(relative_error(learned(learner, WEIGHTS)["W"], wanted(leaky, "W", "V")["W"]))
        assert sum(t.before.type.bytes for t in learner.transition.plan.traces) <= (1 + count) * size
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < errors[0] / 2
    assert errors[3] < 0.01


def test_the_label_says_how_far_the_powers_are():
    label = learner_of(leaky, WEIGHTS, Cascade(constants=2)).certificate["W"]
    left = powers_left(ABOVE[:, None, None], constants_of(learner_of(leaky, WEIGHTS, Cascade(constants=2))), 0.9995)
    assert [str(reason) for reason in label.reasons] == [
        f"credit through the memory of 'k' is carried by 2 exponentials, which give the powers of its factors to "
        f"{left.max():.1g}"
    ]


def test_factors_that_are_learnt_are_never_exact():
    params = {**WEIGHTS, **FACTORS}
    learner = learner_of(leaky, params, Cascade(constants=N))
    assert differing(learned(learner, params), wanted(leaky, "W", "V", "a")) == {}
    (reason,) = learner.certificate["W"].reasons
    assert str(reason).startswith("credit through the memory of 'k' is carried by 5 exponentials, which gave")
    assert str(reason).endswith("when they were chosen; these are learnt")
    moved = {**params, "a": params["a"] * 0.97}  # the coefficients follow
    truth = bptt(leaky, moved, REST, (jnp.asarray(XS),), jnp.asarray(TS)).grads["W"]
    assert 1e-9 < relative_error(learned(learner, moved)["W"], truth) < 1e-2


@pytest.mark.parametrize("window", [1, 2])
def test_complex_memories_and_a_weight_without_a_state(window: int):
    params = {**TURNING, "M": normal(3, 3)}
    states = {"h": jnp.zeros(N, complex), "k": jnp.zeros(3, complex)}
    truth = bptt(turning, params, states, (jnp.asarray(XS),), jnp.asarray(TS)).grads
    learner = learner_of(turning, params, Cascade(constants=6), window, states=states)
    assert labels_of(learner) == dict.fromkeys(("B", "C", "M", "R"), "exact")
    assert differing(learned(learner, params, states), truth) == {}


def test_from_one_memory_on_into_the_next():
    factors = [np.array([0.3, 0.6]), np.array([0.5, 0.8]), np.array([0.7, 0.9])]
    params = [normal(INPUTS, 2), normal(2, 2), normal(2, 2)]
    states = [jnp.zeros(2)] * 3

    def step(p: Any, s: Any, x: Any) -> Any:
        new: list[Any] = []
        for w, h, a in zip(p, s, factors, strict=True):
            new.append(a * h + etir.matmul(x, w))
            x = new[-1]
        return new, jnp.concatenate([x, x, x[:1]])

    truth = bptt(step, params, states, (jnp.asarray(XS),), jnp.asarray(TS)).grads
    learner = learner_of(step, params, Cascade(constants=4), 2, states=states)
    assert labels_of(learner) == {"0": "approximate", "1": "exact", "2": "exact"}
    assert [str(reason) for reason in learner.certificate["0"].reasons] == [
        "what goes on from the memory of '1' into others is carried by the same exponentials"
    ]
    assert differing(learned(learner, params, states), truth) == {}


@pytest.mark.parametrize("name", ["two_layer_delayed", *(pytest.param(n, marks=pytest.mark.slow) for n in MORE)])
def test_what_every_rule_promises(name: str):
    assert contract_faults(name, "cascade", 2) == []


def test_a_factor_that_moves_is_a_running_mean():
    params = {**WEIGHTS, "G": 0.3 * normal(INPUTS, N)}
    truth = bptt(gated, params, REST, (jnp.asarray(XS),), jnp.asarray(TS)).grads
    found = [learned(learner_of(gated, params, Cascade(constants=4), backend=b), params) for b in BACKENDS]
    assert differing(*found) == {}
    base = learned(learner_of(gated, params, "d_rtrl"), params)
    assert relative_error(found[0]["W"], truth["W"]) < 0.5 * relative_error(base["W"], truth["W"])
    reasons = learner_of(gated, params, Cascade(constants=4)).certificate["W"].reasons
    assert [str(reason) for reason in reasons] == [
        "credit through the memory of 'k' is carried by 4 exponentials, with a running mean in the place of its "
        "factors, which move",
        "what differs between steps on the way to these memories is taken as a mean",
    ]


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_mean_of_a_slope_is_of_the_whole_derivative(scale: float):
    """A GELU's is a sum of products whose factors are large apart from each other; their means alone come to 1e6."""
    params = {**WEIGHTS, "C": scale * normal(N, N)}

    def step(p: Any, s: Any, x: Any) -> Any:
        h = BELOW * s["h"] + etir.matmul(x, p["W"])
        k = ABOVE * s["k"] + etir.matmul(jax.nn.gelu(etir.matmul(h, p["C"])), p["V"])
        return {"h": h, "k": k}, k

    truth = bptt(step, params, REST, (jnp.asarray(XS),), jnp.asarray(TS)).grads
    found, defined = (learned(learner_of(step, params, Cascade(constants=N), backend=b), params) for b in BACKENDS)
    base = learned(learner_of(step, params, "d_rtrl"), params)
    assert differing(found, defined) == {}
    assert all(relative_error(found[k], truth[k]) < 0.6 * relative_error(base[k], truth[k]) for k in "WC")


def planned(rule: Any) -> Any:
    return etir.plan(etir.analyse(etir.lower(leaky, WEIGHTS, REST, jnp.asarray(XS[0]))), rule)


def test_a_trace_that_is_filtered_by_something_else_is_not_taken_for_it():
    t = planned(Cascade(constants=N))

    def changed(op: Any) -> Any:
        ours = isinstance(op, Advance) and isinstance(op.add, Passed)
        return replace(op, by=Scalar(factor=0.5)) if ours else op

    plan = replace(t.plan, step=tuple(map(changed, t.plan.step)))
    label = etir.passes.Certify().run(replace(t, plan=plan)).certificate["W"]
    assert str(label.label) == "approximate"
    assert "its trace is filtered once more before it is read" in map(str, label.reasons)
    assert any(str(reason).startswith("path from 'h' to 'k'") for reason in label.reasons)


def test_the_program_prints_and_reads_back():
    text = render(planned(Cascade(constants=2)))
    assert render(parse(text)) == text
    assert '= recall(region="onward"' in text


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_coefficients_and_error_are_those_of_least_squares(turn: float):
    factors = np.exp(-1 / np.geomspace(2, 60, 9) + 1j * turn * np.arange(9) / 9)
    constants = choose(factors, 4, 1 - 1e-9, 1e-9)
    n = np.arange(2000)[:, None]
    powers, fitted = factors**n, np.array(constants) ** n
    least = np.linalg.lstsq(fitted, powers, rcond=None)[0]
    found = np.stack([c[:, 0, 0] for c in coefficients(factors[:, None, None], constants, 1 - 1e-9, np)])
    np.testing.assert_allclose(found, least, atol=1e-6)
    left = np.linalg.norm(powers - fitted @ least, axis=0) / np.linalg.norm(powers, axis=0)
    np.testing.assert_allclose(powers_left(factors[:, None, None], constants, 1 - 1e-9), left, atol=1e-6)


def test_as_few_constants_as_there_are_factors():
    assert choose(np.array([0.5, 0.9, 0.5]), 6, 0.9995, 1e-9) == (0.9, 0.5)
    assert choose(np.array([0.9 + 0.1j, 0.9 - 0.1j]), 1, 0.9995, 1e-9) == ()


def test_bad_options_are_refused():
    with pytest.raises(EtirError, match="cascade has constants=0"):
        planned(Cascade(constants=0))
