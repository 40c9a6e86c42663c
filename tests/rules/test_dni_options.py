"""dni: options that do not go together, predictors that predict something else, plans that count credit twice."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import pytest
from snippets import expected
from stages import lowered, section

import etir
from etir.ir.diagnostics import EtirError
from etir.ir.verify import verify
from etir.rules import Dni, Rtrl, Rule

STEP = """
def step(p, s, x):
    h = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]))
    return {"h": h, "c": s["c"] + h}, etir.matmul(h, p["out"])
"""
TYPES = {"W": "f32[3,4]", "U": "f32[4,4]", "out": "f32[4,2]"}, {"h": "f32[4]", "c": "f32[4]"}, "f32[3]"


@pytest.fixture(scope="module")
def transition():
    return etir.analyse(lowered(STEP, *TYPES))


def test_the_program_in_text(transition):
    planned = etir.plan(transition, "dni", window=4)
    assert section(planned, "plan") == expected("""
        plan dni window=4 credit=full {
          trace %predictor -> %predictor_step : f32[72] "predictor of later credit" start @start_predictor
          trace %mean -> %predictor_step1 : f32[72] "running mean of the predictor's gradient"
          trace %square -> %predictor_step2 : f32[72] "running mean of the predictor's squared gradient"
          trace %steps -> %predictor_step3 : i32[] "the predictor's steps"
          window {
            %later_credit, %later_credit1 : f32[4] = apply(region="later_credit", values=[%predictor, %c1, %h1])
            %c_bar, %h_bar : f32[4],
            %U_bar : f32[4,4],
            %W_bar : f32[3,4],
            %out_bar : f32[4,2]
              = vjp(region="forward", exit=[%later_credit, %later_credit1])
            %predictor_step, %predictor_step1, %predictor_step2 : f32[72],
            %predictor_step3 : i32[]
              = apply(region="predictor_step", values=[%predictor, %mean, %square, %steps, %c, %h, %c_bar, %h_bar])
            %grad_U : f32[4,4],
            %grad_W : f32[3,4],
            %grad_out : f32[4,2]
              = pullback(reverse=[%U_bar, %W_bar, %out_bar])
          }
        }
    """)
    assert verify(planned) == []


def zeros(_: Any, states: Any) -> Any:
    return {path: jnp.zeros_like(x) for path, x in states.items()}


REFUSED = {
    "hidden": (
        {"hidden": (4, -1)},
        "error: dni has hidden=(4, -1); wanted a number of units, or a tuple of them [rule-option]",
    ),
    "a list": (
        {"hidden": [4]},
        "error: dni has hidden=[4]; wanted a number of units, or a tuple of them [rule-option]",
    ),
    "numbers": (
        {"learning_rate": -1.0, "scale": float("inf")},
        """
        error: dni has learning_rate=-1.0; wanted a number of at least 0 [rule-option]
        error: dni has scale=inf; wanted a number [rule-option]
        """,
    ),
    "its own predictor, fixed": (
        {"learning_rate": 0},
        "error: dni has learning_rate=0, so that its own predictor would say zero for ever [rule-option]",
    ),
    "nothing to learn": (
        {"predictor": zeros},
        "error: dni has learning_rate=0.001, and a predictor without initial parameters to learn [rule-option]",
    ),
    "nothing that takes them": (
        {"initial": lambda _: jnp.zeros(3)},
        "error: dni has initial parameters, and no predictor of yours that takes them [rule-option]",
    ),
    "two predictors": (
        {"predictor": zeros, "learning_rate": 0, "hidden": 3},
        "error: dni has hidden=3, which is of its own predictor, beside one of yours [rule-option]",
    ),
    "parameters that are no vector": (
        {"predictor": zeros, "initial": lambda _: {"n": jnp.int32(0)}},
        """
        error: dni's initial parameters hold i32[]; wanted real floating-point arrays [rule-option]
          help: let the predictor close over what is not to be learned
        """,
    ),
    "no dictionary": (
        {"predictor": lambda _, s: s["h"], "learning_rate": 0},
        """
        error: dni's predictor gives f32[4]; wanted a cotangent of each hidden state: 'c', 'h' [rule-option]
          help: return a dictionary by the dotted paths of the states
        """,
    ),
    "a state left out": (
        {"predictor": lambda _, s: {"h": s["h"]}, "learning_rate": 0},
        """
        error: dni's predictor gives 'h'; wanted a cotangent of each hidden state: 'c', 'h' [rule-option]
          help: return a dictionary by the dotted paths of the states
        """,
    ),
    "another shape": (
        {"predictor": lambda _, s: {"h": s["h"], "c": s["h"][:3]}, "learning_rate": 0},
        "error: dni's predictor gives f32[3] for 'c'; wanted f32[4] [rule-option]",
    ),
    "complex for real": (
        {"predictor": lambda _, s: {"h": s["h"], "c": s["c"] * 1j}, "learning_rate": 0},
        "error: dni's predictor gives c64[4] for 'c'; wanted f32[4] [rule-option]",
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.each
def test_options_that_are_refused(transition, options: Any, message: str):
    with pytest.raises(EtirError) as failure:
        etir.plan(transition, Dni(**options))
    assert str(failure.value) == expected(message)


@dataclass(frozen=True)
class Leaving(Rule):
    """Begins reverse mode with the states that leave, as often as it is told."""

    name: ClassVar[str] = "leaving"
    needs_sites: ClassVar[bool] = False
    count: int = 2

    def write(self, plan: Any, task: Any) -> None:
        del task
        plan.leave_with([s.after for s in plan.transition.hidden][: self.count])


@dataclass(frozen=True)
class Whole(Rtrl):
    """Carries a parameter's influence on every hidden state, whatever structure it has."""

    name: ClassVar[str] = "whole"

    def write(self, plan: Any, task: Any) -> None:
        self.write_whole(plan, task, task.reaching)


CLASHES = {
    "two rules": (
        {"W": "dni", "U": Leaving()},
        """
        error: rule 'dni' gives what reverse mode begins with at a window's end, and so does another rule of the same plan, 'leaving' [plan-exit]
          help: give all parameters that reach a hidden state one and the same of them
        """,  # noqa: E501
    ),
    "two of one name": (
        {"W": "dni", "U": Dni(hidden=3)},
        """
        error: rule 'dni' gives what reverse mode begins with at a window's end, and so does another rule of the same plan, 'dni' [plan-exit]
          help: give all parameters that reach a hidden state one and the same of them
        """,  # noqa: E501
    ),
    "too few cotangents": (
        {"W": Leaving(count=1)},
        """
        error: rule 'leaving' begins reverse mode with f32[4]; wanted f32[4], f32[4], the types of the hidden states [plan-exit]
        """,  # noqa: E501
    ),
    "a trace that brings the same credit": (
        {"W": "dni", "U": "d_rtrl"},
        """
        model.py:2:43: error: trace 'U on c' is read with what reverse mode sends back, which begins with a prediction of later credit: that credit would count twice, when predicted and when it comes [plan-exit]
          h = jnp.tanh(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]))
                                                ^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: give all parameters that reach a hidden state the rule that predicts, or none
        """,  # noqa: E501
    ),
    "an influence matrix that does": (
        {"W": "dni", "U": Whole()},
        """
        error: trace 'U on every hidden state' is read with what reverse mode sends back, which begins with a prediction of later credit: that credit would count twice, when predicted and when it comes [plan-exit]
          help: give all parameters that reach a hidden state the rule that predicts, or none
        """,  # noqa: E501
    ),
}


@pytest.mark.parametrize(("rules", "message"), CLASHES.values(), ids=CLASHES)
def test_plans_that_are_refused(transition, rules: Any, message: str):
    with pytest.raises(EtirError) as failure:
        etir.plan(transition, "bptt", rules=rules)
    assert str(failure.value) == expected(message)


def test_other_rules_beside_it(transition):
    """What reverse mode begins with is there for every parameter; a readout is free; a rule equal to it is the same."""
    label = etir.plan(transition, "bptt", rules={"W": "dni"}).certificate["U"]
    assert (str(label.label), label.rule) == ("approximate", "bptt")
    assert etir.plan(transition, "dni", rules={"out": "d_rtrl"}).certificate["out"].rule == "d_rtrl"
    assert len(etir.plan(transition, "bptt", rules={"W": Dni(), "U": "dni"}).plan.traces) == 4
    assert etir.plan(transition, "d_rtrl", rules={"out": "dni"}).plan.at_window[0].exit == ()


def test_a_predictor_may_look_at_every_state_but_keys():
    """A count is seen; a PRNG key, which no arithmetic takes, is not."""

    def step(p: Any, s: Any, x: Any) -> Any:
        key, now = jax.random.split(s["key"])
        h = 0.5 * s["h"] + p["a"] * x + jax.random.normal(now, (3,))
        return {"h": h, "count": s["count"] + 1, "key": key}, h

    seen: list[list[str]] = []

    def predictor(_: Any, states: Any) -> Any:
        seen.append(sorted(states))
        return {"h": states["count"] * jnp.ones(3)}

    states = {"h": jnp.zeros(3), "count": jnp.int32(0), "key": jax.random.key(0)}
    etir.compile(step, {"a": jnp.ones(3)}, states, jnp.ones(3), rule=Dni(predictor=predictor, learning_rate=0))
    assert seen == [["count", "h"]]
