"""plan-traces: which programs a plan is made of, and what it refuses."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import pytest
from snippets import expected
from stages import lowered, section

import etir
from etir.ir.diagnostics import EtirError
from etir.ir.plan import Contract, Jacobian
from etir.passes import PlanTraces
from etir.rules import Rule, Task, Writer
from etir.rules.shared.positional import positional_trace

STEP = """
def step(p, s, x):
    h = 0.5 * s["h"] + jnp.tanh(USE)
    return {"h": h}, h
"""
TYPES = {"A": "f32[3,4]", "B": "f32[3,4]"}, {"h": "f32[4]"}, "f32[3]"
TWO_SITES = "etir.matmul(x, p['A']) * etir.matmul(x, p['B'])"
ONE_WEIGHT = "etir.matmul(x, p['A'] * p['B'])"


def analysed(use: str):
    return etir.analyse(lowered(STEP.replace("USE", use), *TYPES))


@dataclass(frozen=True)
class Short(Rule):
    """A rule that reads a trace with one cotangent too few, and with one of another shape."""

    name: ClassVar[str] = "short"

    def write(self, plan: Writer, task: Task) -> None:
        for association in task.associations:
            trace = positional_trace(plan, association)
            wrong = plan.apply(lambda: jnp.ones(3), name="ones")
            plan.window(Contract(association=association, trace=trace.before * 2, cotangents=wrong))


def test_a_rule_for_each_parameter():
    """Two sites share the group's Jacobian; one with a rule that holds nothing has that of the open scope's group."""
    planned = etir.plan(analysed(TWO_SITES), rules={"B": "rtrl"})
    operations = [type(op).__name__ for phase in (planned.plan.step, planned.plan.at_window) for op in phase]
    assert operations == [
        "Jacobian", "Sensitivity", "Advance", "Jacobian", "Sensitivity", "Advance",
        "Vjp", "Contract", "Contract", "Pullback",
    ]  # fmt: skip
    assert [trace.label for trace in planned.plan.traces] == ["A on h", "B on h"]
    assert [op.group.region for op in planned.plan.step if type(op) is Jacobian] == ["hidden", "open"]
    assert planned.plan.rules == ("d_rtrl", "rtrl")
    both = etir.plan(analysed(TWO_SITES)).plan
    assert [type(op).__name__ for op in both.step] == ["Jacobian", "Sensitivity", "Advance", "Sensitivity", "Advance"]


def test_parameters_without_a_trace_by_their_rules_nature_are_known():
    """A rule that carries something for none of its parameters, though it needs no site for that."""
    plans = [etir.plan(analysed(TWO_SITES), rules=rules).plan for rules in ({}, {"B": "bptt"}, {"B": "rtrl"})]
    assert [[param.path for param in plan.left] for plan in plans] == [[], ["B"], []]
    assert [plan.rules for plan in plans] == [(), ("d_rtrl", "bptt"), ("d_rtrl", "rtrl")]


def test_arrays_of_several_states_are_named_for_them():
    source = """
    def step(p, s, x):
        v = 0.5 * s["v"] - 0.1 * s["a"] + etir.matmul(x, p["W"])
        a = 0.9 * s["a"] + 0.1 * v
        return {"v": v, "a": a}, v
    """
    step = lowered(source, {"W": "f32[3,4]"}, {"v": "f32[4]", "a": "f32[4]"}, "f32[3]")
    planned = etir.plan(etir.analyse(step))
    assert section(planned, "trace") == expected("""
        trace %e_W_a -> %e_W_a_next : f32[3] "W on a" loc(model.py:2:39)
        trace %e_W_v -> %e_W_v_next : f32[3] "W on v" loc(model.py:2:39)
    """)
    assert section(planned, "%f_") == "%f_y_W_a, %f_y_W_v : f32[4] = sensitivity(association=%y_W -> #0)"


def test_a_site_without_a_trace_has_no_program():
    assert etir.plan(analysed("jnp.sort(etir.matmul(x, p['A']))")).plan.traces == ()


def test_a_weight_of_two_parameters_has_one_trace():
    planned = etir.plan(analysed(ONE_WEIGHT))
    assert section(planned, "trace") == 'trace %e_A_p -> %e_A_p_next : f32[3,4] "A+B on h" loc(model.py:2:33)'


@pytest.mark.parametrize(("credit", "region"), [("full", "forward"), ("rule", "restricted")])
def test_reverse_mode_runs_over_the_region_of_the_credit(credit: str, region: str):
    planned = etir.plan(analysed(TWO_SITES), credit=credit)
    assert planned.plan.at_window[0].region == region
    assert ("restricted" in [r.name for r in planned.regions]) == (credit == "rule")


@pytest.mark.parametrize(
    ("use", "options", "message"),
    [
        (
            TWO_SITES,
            {"window": 0, "credit": "all"},
            """
            error: window=0; a window is at least one step long [window-size]
            error: credit='all'; wanted 'full' or 'rule' [unknown-credit]
            """,
        ),
        (
            "x @ p['A']",
            {},
            """
            model.py:1: error: step 'step' uses no weight through an ETP operation, so 'd_rtrl' has nothing to trace [no-site]
              def step(p, s, x):
              help: write etir.matmul(h, w) where the weight should learn online, or pass sites='auto'
            """,  # noqa: E501
        ),
        (
            ONE_WEIGHT,
            {"rules": (("A", "pp_prop"),)},
            """
            model.py:2:33: error: 'A' and 'B' make one weight, but learn by different rules: 'pp_prop', 'd_rtrl' [rule-conflict]
              h = 0.5 * s["h"] + jnp.tanh(etir.matmul(x, p['A'] * p['B']))
                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
              help: give them the same rule in rules=
            """,  # noqa: E501
        ),
        (
            TWO_SITES,
            {"rules": (("A", "rtrl"),), "credit": "rule"},
            """
            error: credit='rule' is the per-step form of 'd_rtrl'; 'A' learns by 'rtrl', which has none [credit-rules]
              help: pass credit='full', which drops strictly less, or give every parameter the same rule
            """,
        ),
        (
            TWO_SITES,
            {"rule": "d_rtl"},
            """
            error: there is no learning rule 'd_rtl' [unknown-rule]
              help: did you mean 'd_rtrl'?
            """,
        ),
        (
            TWO_SITES,
            {"rules": (("C*", "rtrl"), ("B", "rtlr"))},
            """
            error: there is no learning rule 'rtlr' [unknown-rule]
              help: did you mean 'rtrl'?
            error: no parameter matches 'C*', given in rules= [rule-path]
              help: known: A, B
            """,
        ),
        (
            TWO_SITES,
            {"rule": Short},
            """
            error: the class 'Short' was given as a learning rule; wanted an instance [unknown-rule]
              help: pass rule=Short()
            """,
        ),
        (
            ONE_WEIGHT,
            {"rule": Short()},
            """
            model.py:2:33: error: rule 'short' adds what does not fit: 'contract' has 1 cotangent for 2 arrays [operation-type]
              h = 0.5 * s["h"] + jnp.tanh(etir.matmul(x, p['A'] * p['B']))
                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            model.py:2:33: error: rule 'short' adds what does not fit: 'contract' has a cotangent of f64[3]; wanted shape [4] [operation-type]
              h = 0.5 * s["h"] + jnp.tanh(etir.matmul(x, p['A'] * p['B']))
                                          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
            """,  # noqa: E501
        ),
    ],
    ids=[
        "options", "no site", "two rules of one weight", "a rule without a per-step form", "no such rule",
        "no such rule and no such parameter", "a class", "an operation that does not fit",
    ],
)  # fmt: skip
def test_what_cannot_be_planned(use: str, options, message: str):
    with pytest.raises(EtirError) as failure:
        PlanTraces(**options).run(analysed(use))
    assert str(failure.value) == expected(message)
