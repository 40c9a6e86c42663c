"""plan-traces: which programs a plan is made of, and what it refuses."""

import pytest
from snippets import expected
from stages import lowered, section

import etir
from etir.ir.diagnostics import EtirError
from etir.passes import PlanTraces

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


def test_a_rule_for_each_parameter():
    """Two sites share the group's Jacobian; a parameter with a rule of its own has an influence matrix."""
    planned = etir.plan(analysed(TWO_SITES), rules={"B": "rtrl"})
    operations = [type(op).__name__ for phase in (planned.plan.step, planned.plan.at_window) for op in phase]
    assert operations == [
        "Jacobian", "Sensitivity", "Advance", "Vjp", "Contract", "Contract", "AdvanceFull", "Pullback",
    ]  # fmt: skip
    assert [trace.label for trace in planned.plan.traces] == ["A on group 0", "B on every hidden state"]
    both = etir.plan(analysed(TWO_SITES)).plan
    assert [type(op).__name__ for op in both.step] == ["Jacobian", "Sensitivity", "Advance", "Sensitivity", "Advance"]


def test_a_site_without_a_trace_has_no_program():
    assert etir.plan(analysed("jnp.sort(etir.matmul(x, p['A']))")).plan.traces == ()


def test_a_weight_of_two_parameters_has_one_trace():
    planned = etir.plan(analysed(ONE_WEIGHT))
    assert section(planned, "trace") == 'trace %e_A_p -> %e_A_p_next : f32[1,1,4,3] "A+B on group 0" loc(model.py:2:33)'


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
    ],
    ids=["options", "no site", "two rules of one weight", "a rule without a per-step form"],
)  # fmt: skip
def test_what_cannot_be_planned(use: str, options, message: str):
    with pytest.raises(EtirError) as failure:
        PlanTraces(**options).run(analysed(use))
    assert str(failure.value) == expected(message)
