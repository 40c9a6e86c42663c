"""The rules of examples/rules, on both backends, against recursions written out by hand."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir

HERE = Path(__file__).parents[2] / "examples" / "rules"
STEPS = 7
XS = jax.random.normal(jax.random.key(0), (STEPS, 3))
TS = jax.random.normal(jax.random.key(1), (STEPS, 2))
PARAMS = {"W": jax.random.normal(jax.random.key(2), (3, 2)), "U": 0.5 * jax.random.normal(jax.random.key(3), (2, 2))}
STATES = {"h": jnp.array([0.3, -0.2])}
ATTENTION = jnp.linspace(0.0, 1.0, STEPS, dtype=jnp.float32)


def rule(name, **options):
    """The one rule that a file defines."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (kind,) = [
        c for c in vars(module).values() if isinstance(c, type) and issubclass(c, etir.Rule) and c is not etir.Rule
    ]
    return kind(**options)


def step(params, states, x):
    h = 0.8 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h}, h


def loss(y, t):
    return jnp.sum((y - t) ** 2)


def by_hand(weight, window, advance, read):
    """`w_bar + <h_bar, read>` over windows: `advance(E, S, f, data, t)` and `read(E, S)` are the rule's."""
    h, total = STATES["h"], 0.0
    E, S = np.zeros((2, *PARAMS[weight].shape))
    for start in range(0, STEPS, window):
        at = slice(start, start + window)

        def run(w, h, at=at):
            params = PARAMS | {weight: w}
            end, ys = jax.lax.scan(lambda s, x: step(params, s, x), {"h": h}, XS[at])
            return jnp.sum((ys - TS[at]) ** 2), end["h"]

        (w_bar, h_bar), end = jax.grad(run, argnums=(0, 1), has_aux=True)(PARAMS[weight], h)
        total = total + w_bar + np.asarray(h_bar)[None, :] * read(E, S)
        for t in range(start, min(start + window, STEPS)):
            u = XS[t] @ PARAMS["W"] + h @ PARAMS["U"]
            f = np.asarray(1 - jnp.tanh(u) ** 2)
            E, S = advance(E, S, f, np.asarray(XS[t] if weight == "W" else h), t)
            h = 0.8 * h + jnp.tanh(u)
        np.testing.assert_allclose(h, end, rtol=1e-12)
    return total


def d_rtrl(E, f, x):
    return 0.8 * E + np.outer(x, f)


CASES = {
    "leaky_trace": ({"leak": 0.6}, lambda E, S, f, x, t: (0.6 * E + np.outer(x, f), S), lambda E, S: E),
    "sign_trace": (
        {},
        lambda E, S, f, x, t: (d_rtrl(E, f, x), S),
        lambda E, S: np.sign(E) * np.mean(np.abs(E)),
    ),
    "two_timescales": (
        {"decay": 0.7},
        lambda E, S, f, x, t: (d_rtrl(E, f, x), 0.7 * S + float(ATTENTION[t]) * d_rtrl(E, f, x)),
        lambda E, S: E + S,
    ),
}


REASONS = {
    "leaky_trace": "its trace is carried by something else than the step's own Jacobian",
    "sign_trace": "what is read is what 'quantised",
    "two_timescales": "what is read is what 'mixed",
}


@pytest.mark.parametrize("backend", ["xla", "reference"])
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_it_is_its_recursion(name, window, backend):
    options, advance, read = CASES[name]
    learner = etir.compile(
        step, PARAMS, STATES, XS[0], rule=rule(name, **options), window=window, backend=backend, on_truncated="ignore"
    )
    signals = {"attention": ATTENTION} if name == "two_timescales" else {}
    found = learner.grad(loss)(PARAMS, learner.init(), XS, TS, **signals).grads
    for weight in PARAMS:
        np.testing.assert_allclose(found[weight], by_hand(weight, window, advance, read), rtol=1e-10)
        label = learner.certificate[weight]
        assert (str(label.label), label.rule) == ("approximate", name)
        assert any(reason.text.startswith(REASONS[name]) for reason in label.reasons)


def test_each_is_short():
    lengths = {file.name: len(file.read_text().splitlines()) for file in HERE.glob("*.py")}
    assert set(lengths) == {f"{name}.py" for name in CASES}
    assert max(lengths.values()) < 100
