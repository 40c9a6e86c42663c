"""etir.check: what it says of learners and of models, and what it finds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from snippets import expected

import etir
from etir.ir.transition import Verdict

KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = {"W": jax.random.normal(KEYS[0], (3, 4), jnp.float32), "U": jax.random.normal(KEYS[1], (4, 4), jnp.float32)}
STATES, X = {"h": jnp.zeros(4, jnp.float32)}, jnp.ones(3, jnp.float32)


def step(params, states, x):
    h = 0.5 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h}, h


def rows(check):
    return [(f.label.path, str(f.label.label), str(f.outcome)) for f in check]


def test_a_model_is_checked_in_double_precision():
    found = etir.check(step, PARAMS, STATES, X, rules={"U": "rtrl"})
    assert found.title == "step: d_rtrl, windows of 2, 12 steps, credit full; exact means within 1e-09 in float64"
    assert rows(found) == [("U", "exact", "holds"), ("W", "approximate", "holds")]
    assert found["U"].error < 1e-12 < 1e-3 < found["W"].error
    assert found
    assert found.require() is found
    head, columns, first, *_, last = repr(found).splitlines()
    assert (head, columns, last) == (found.title, "weight  label        rule    error    verdict", "every label holds")
    assert first.split()[:3] == ["U", "exact", "rtrl"]


def test_a_learner_is_checked_as_it_is():
    learner = etir.compile(step, PARAMS, STATES, X, window=3, initial="h", rule="rtrl", trace_dtype=jnp.float32)
    found = etir.check(learner, steps=8, seed=1)
    assert rows(found) == [("U", "exact", "holds"), ("W", "exact", "holds"), ("initial.h", "exact", "holds")]
    assert "8 steps" in found.title
    assert "within 0.0001" in found.title


def test_a_module_is_checked():
    class Leaky(etir.Module):
        def __init__(self):
            self.w = etir.ParamState(PARAMS["W"])
            self.h = etir.HiddenState(STATES["h"])

        def update(self, x):
            self.h.value = 0.5 * self.h.value + etir.matmul(x, self.w.value)
            return self.h.value

    assert rows(etir.check(Leaky(), X)) == [("w", "exact", "holds")]


def test_a_lie_is_shown_and_raised_where_that_is_asked_for():
    learner = etir.compile(step, PARAMS, STATES, X, window=2)
    labels = tuple(replace(label, label=Verdict.EXACT) for label in learner.certificate)
    learner.transition = replace(learner.transition, certificate=replace(learner.certificate, labels=labels))
    found = etir.check(learner)
    assert not found
    assert [f.label.path for f in found.lies] == ["U", "W"]
    assert found.conclusion == "2 of 2 labels are lies"
    page = found._repr_html_()
    assert page.count("<tr>") == 3
    assert page.count("color:#b3261e'>LIE: not BPTT&#x27;s gradient</td>") == 2
    with pytest.raises(etir.EtirError) as refused:
        found.require()
    first = f"{found['U'].error:.1e}"
    assert str(refused.value).startswith(
        expected(f"""
        error: the label of 'U', exact, is not true: its gradient is not BPTT's gradient [check-lie]
          note: its relative error is {first}
    """)
    )


def test_shapes_cannot_be_checked():
    learner = etir.compile(step, *jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (PARAMS, STATES)), X)
    with pytest.raises(etir.EtirError, match="parameters-missing"):
        etir.check(learner)
