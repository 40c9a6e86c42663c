"""D-RTRL against formulas worked out by hand, number by number, in both read-outs."""

import numpy as np
import pytest
from handwritten import MODELS, per_step, windowed
from learners import EXACT, differing, run
from oracles import relative_error
from problems import problem

WINDOWS = (1, 2, 5)


def by_hand(form, name: str, *rest):
    of = problem(name)
    return form(name, of.model.step, of.model.params, of.states, of.xs, of.ts, *rest)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("window", WINDOWS)
def test_full_credit_is_the_window_identity_by_hand(name: str, window: int):
    assert differing(run(name, "d_rtrl", window).whole, by_hand(windowed, name, window)) == {}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("window", WINDOWS)
def test_rule_credit_is_the_classical_form_whatever_the_window(name: str, window: int):
    assert differing(run(name, "d_rtrl", window, credit="rule").whole, by_hand(per_step, name)) == {}


@pytest.mark.parametrize(
    "name", ["mgu", "lif_recurrent", "lif_current_recurrent", "gif_recurrent", "lstm_fused", "lru"]
)
def test_rule_credit_does_not_depend_on_the_window(name: str):
    one, five = (run(name, "d_rtrl", window, credit="rule") for window in (1, 5))
    traced = {path: grad for path, grad in one.whole.items() if one.labels[path] != "truncated"}
    assert {"W", "Wf", "nu"} & set(traced)
    assert differing(five.whole, traced) == {}


@pytest.mark.parametrize("name", MODELS)
def test_the_two_credits_differ(name: str):
    full, rule = (run(name, "d_rtrl", 5, credit=credit).whole for credit in ("full", "rule"))
    assert min(relative_error(full[path], rule[path]) for path in rule if path != "readout") > 1e-4
    assert relative_error(full["readout"], rule["readout"]) < EXACT


@pytest.mark.parametrize("name", ["lru", "lif_current", "min_gru", "lif_eprop"])
def test_the_two_credits_agree_where_nothing_is_dropped(name: str):
    full, rule = (run(name, "d_rtrl", 2, credit=credit).whole for credit in ("full", "rule"))
    assert differing(rule, full) == {}
    assert all(np.any(grad) for grad in full.values())
