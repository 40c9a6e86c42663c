"""Weights that nothing is learnt by because some operation has derivative zero, and the whole text of what is said."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, run_program

import etir
from etir.rules import EProp

PROGRAM = """\
import etir
from etir import matmul
from jax.lax import cond, scan, stop_gradient
def step(p, s, x):
    v = 0.9 * s["v"] + matmul(x, {weight})
    return {{"v": v}}, {output}
params = {{"w": jnp.eye(3), "u": jnp.ones(3)}}
learner = etir.compile(step, params, {{"v": jnp.zeros(3)}}, jnp.ones(3), on_truncated="ignore")
"""

SILENT = {
    "comparison": ("(v > 1).astype(v.dtype)", "the comparison >"),
    "jnp.heaviside": ("jnp.heaviside(v - 1, 0.0)", "the comparison <"),
    "sign": ("jnp.sign(v)", "sign"),
    "round": ("jnp.round(v)", "round"),
    "floor": ("jnp.floor(v) @ jnp.ones((3, 2))", "floor"),
    "argmax": ("x[jnp.argmax(v)]", "argmax"),
    "one-hot": ("jax.nn.one_hot(jnp.argmax(v), 3)", "argmax"),
    "cast": ("v.astype(jnp.int32)", "the cast to int32"),
    "branch": ("cond(v[0] > 0, jnp.sin, jnp.cos, x)", "the comparison >"),
    "in a branch": ("cond(x[0] > 0, jnp.floor, jnp.floor, v)", "floor"),
    "in a loop": ("scan(lambda c, _: (jnp.round(c), None), v, None, length=2)[0]", "round"),
    "masked before": ("jnp.round(jnp.where(v > 1, v, 0.0))", "round"),
}
AUDIBLE = {
    "mask": "jnp.where(v > 1, v, 0.0)",
    "beside": "(jnp.sign(v), v)",
    "state of a spike": "v - (v > 1)",
    "no output": "None",
    "another output": "x",
    "another chain of a loop": "scan(lambda c, _: ((jnp.sin(c[0]), c[1]), None), (x, v), None, length=2)[0][0]",
}


def warnings_of(weight: str, output: str):
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        names = run_program(PROGRAM.format(weight=weight, output=output))
    return [str(w.message) for w in raised], names["learner"]


@pytest.mark.parametrize("name", SILENT)
def test_a_weight_behind_a_derivative_of_zero_is_warned_of(name: str):
    output, operation = SILENT[name]
    (said,), learner = warnings_of('p["w"]', output)
    message, source, _, remedy = said.splitlines()
    place, _, text = message.partition(": ")
    assert place.startswith("model.py:6:")
    assert source == f'  return {{"v": v}}, {output}'
    assert text == (
        "warning: 'w' learns nothing: every path from it to an output passes through "
        f"{operation}, whose derivative is zero [zero-derivative]"
    )
    assert remedy == (
        "  help: give the operation a surrogate derivative, with jax.custom_jvp or jax.custom_vjp; "
        "jax.lax.stop_gradient says that no learning is meant"
    )
    label = learner.certificate["w"]
    assert label.label == "exact"
    assert [str(r) for r in label.reasons] == [
        f"its gradient is zero: it comes to the outputs through {operation}, whose derivative is zero"
    ]


@pytest.mark.parametrize("name", AUDIBLE)
def test_a_weight_that_has_another_path_is_not_warned_of(name: str):
    said, _ = warnings_of('p["w"]', AUDIBLE[name])
    assert said == []


def test_a_recurrence_that_alone_has_no_derivative_is_not_warned_of():
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        names = run_program("""
            import etir
            def step(p, s, x):
                v = 0.9 * s["v"] + etir.matmul(x, p["w"]) + etir.matmul((s["v"] > 1).astype(float), p["r"])
                return {"v": v}, v
            params = {"w": jnp.eye(3), "r": jnp.eye(3)}
            learner = etir.compile(step, params, {"v": jnp.zeros(3)}, jnp.ones(3))
        """)
    assert raised == []
    assert [str(label.label) for label in names["learner"].certificate] == ["exact", "exact"]


def test_weights_that_one_operation_silences_are_named_together():
    (said,), learner = warnings_of('p["w"] * p["u"]', "(jnp.sign(v), jnp.round(v), stop_gradient(v))")
    assert said == expected("""
        model.py:6:23: warning: 'u' and 'w' learn nothing: every path from them to an output passes through sign or one like it, whose derivative is zero [zero-derivative]
          return {"v": v}, (jnp.sign(v), jnp.round(v), stop_gradient(v))
                            ^^^^^^^^^^^
          note: model.py:6:36: round, whose derivative is zero
          help: give the operation a surrogate derivative, with jax.custom_jvp or jax.custom_vjp; jax.lax.stop_gradient says that no learning is meant
    """)  # noqa: E501
    assert [str(reason) for reason in learner.certificate["u"].reasons] == [
        "its gradient is zero: it comes to the outputs through sign, whose derivative is zero",
        "its gradient is zero: it comes to the outputs through round, whose derivative is zero",
        "its gradient is zero: stop_gradient cuts its way to the outputs",
    ]


@pytest.mark.parametrize("weight", ['jnp.round(p["w"])', '(p["w"] > 0).astype(float)'])
def test_a_weight_that_is_rounded_before_its_use(weight: str):
    (said,), learner = warnings_of(weight, "v")
    assert "'w' learns nothing" in said
    assert "model.py:5:" in said
    assert learner.certificate["w"].label == "exact"


@pytest.mark.parametrize("output", ["stop_gradient(v)", "stop_gradient(v > 1)", "jnp.round(stop_gradient(v))"])
def test_what_is_stopped_on_purpose_is_said_in_the_certificate_alone(output: str):
    said, learner = warnings_of('p["w"]', output)
    assert said == []
    assert [str(reason) for reason in learner.certificate["w"].reasons] == [
        "its gradient is zero: stop_gradient cuts its way to the outputs"
    ]


@pytest.mark.parametrize("rule", ["three_factor", EProp(feedback="random")])
def test_a_rule_with_a_signal_of_its_own_learns_all_the_same(rule):
    """Spikes without a surrogate are no hindrance to it; but its gradient is not the loss's, which is zero."""

    def step(p, s, x):
        v = 0.9 * s["v"] + etir.matmul(x, p["w"])
        return {"v": v}, (v > 1).astype(v.dtype)

    learner = etir.compile(step, {"w": jnp.eye(3)}, {"v": jnp.zeros(3)}, jnp.ones(3), rule=rule)
    signals = {"modulator": jnp.ones(5)} if rule == "three_factor" else {}
    carry = learner.init(key=jnp.zeros(2, jnp.uint32)) if not signals else learner.init()
    result = learner.grad(lambda y: jnp.sum((y - 1) ** 2))(learner.params, carry, jnp.ones((5, 3)), **signals)
    assert np.asarray(result.grads["w"]).any()
    assert learner.certificate["w"].label == "approximate"
