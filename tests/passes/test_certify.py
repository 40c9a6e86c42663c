"""certify: one label for every parameter, by the rule that learns it."""

from dataclasses import replace

import pytest
from snippets import expected
from stages import labels, lowered

import etir
from etir.ir.diagnostics import EtirError
from etir.passes import Certify, PlanTraces
from etir.rules import PpProp

STEP = """
def step(p, s, x):
    h = 0.5 * s["h"] + jnp.tanh(etir.matmul(jnp.concatenate([x, s["h"]]), p["cell"]["W"], p["cell"]["b"]))
    return {"h": h}, etir.matmul(h, p["out"])
"""
PARAMS = {"cell": {"W": "f32[7,4]", "b": "f32[4]"}, "n": "i32[]", "out": "f32[4,2]"}


@pytest.fixture(scope="module")
def transition():
    return etir.analyse(lowered(STEP, PARAMS, {"h": "f32[4]"}, "f32[3]"))


CROSSES = "\"recurrence of 'h' through etir.matmul with 'cell.W' (mixes positions) is dropped\" loc(model.py:2:33)"
OUTSIDE = '"out" exact "reaches no hidden state: its gradient needs no trace"'


@pytest.mark.parametrize(
    ("rule", "rules", "text"),
    [
        ("d_rtrl", {}, f'"cell.W" approximate {CROSSES}\n"cell.b" approximate {CROSSES}\n{OUTSIDE}'),
        (
            "rtrl",
            {},
            '"cell.W" exact "every path from it to a hidden state is traced"\n'
            f'"cell.b" exact "every path from it to a hidden state is traced"\n{OUTSIDE}',
        ),
        (
            "bptt",
            {},
            '"cell.W" truncated "bptt carries no trace: credit ends where the window begins"\n'
            f'"cell.b" truncated "bptt carries no trace: credit ends where the window begins"\n{OUTSIDE}',
        ),
        (
            "d_rtrl",
            {"cell.b": "rtrl", "cell.*": "bptt"},
            '"cell.W" truncated by bptt "bptt carries no trace: credit ends where the window begins"\n'
            f'"cell.b" exact by rtrl "every path from it to a hidden state is traced"\n{OUTSIDE}',
        ),
    ],
    ids=["d_rtrl", "rtrl", "bptt", "the first glob that matches"],
)
def test_the_labels_of_a_rule(transition, rule: str, rules: dict[str, str], text: str):
    assert labels(transition, rule, rules=rules) == text


def test_pp_prop_says_that_a_trace_is_factored(transition):
    label = etir.plan(transition, PpProp(decay=0.5)).certificate["cell.W"]
    assert [str(reason) for reason in label.reasons] == [
        "its trace is kept as a product of two vectors",
        "recurrence of 'h' through etir.matmul with 'cell.W' (mixes positions) is dropped",
    ]


def test_a_discrete_parameter_has_no_label(transition):
    assert [label.path for label in etir.plan(transition).certificate] == ["cell.W", "cell.b", "out"]


def test_a_certificate_that_says_the_same_stays(transition):
    planned = PlanTraces().run(transition)
    certified = Certify().run(planned)
    assert Certify().run(certified) is certified
    assert Certify().run(etir.plan(transition)).certificate == certified.certificate
    again = replace(PlanTraces(window=2).run(transition), certificate=certified.certificate)
    assert Certify().run(again) is not again
    assert Certify().run(again).certificate.window == 2


def test_labels_are_those_of_the_plan_and_not_of_a_rules_name(transition):
    """A contraction taken out of the plan by hand takes the credit out of the labels."""
    planned = etir.plan(transition, rules={"cell.b": "rtrl"})
    *rest, pullback = planned.plan.at_window
    kept = [k for k, weight in enumerate(pullback.weights) if weight.paths != ("cell.b",)]
    weights, values = ([of[k] for k in kept] for of in (pullback.weights, pullback.on_weights))
    without = replace(pullback, weights=tuple(weights), on_weights=tuple(values))
    cut = replace(planned.plan, at_window=(*rest, without))
    label = Certify().run(replace(planned, plan=cut)).certificate["cell.b"]
    assert (label.rule, label.label) == ("rtrl", "truncated")


def test_without_a_plan_there_is_nothing_to_certify(transition):
    with pytest.raises(EtirError) as failure:
        Certify().run(transition)
    assert str(failure.value) == expected("""
        error: the transition has no plan to certify [no-plan]
          help: run plan-traces first (etir.plan)
    """)
