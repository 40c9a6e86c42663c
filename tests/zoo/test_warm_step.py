"""One step from a warmed-up state is plain back-propagation, for every parameter: no path is counted twice."""

import pytest
from learners import RULES, compiled, differing, driver
from oracles import by_path
from problems import problem

NAMES = ("lstm", "lstm_fused", "lstm_coupled", "gru_reset_before", "gru_reset_after", "mgu", "lif_current",
         "lif_current_vjp", "lif_current_recurrent")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rule", "credit"), [*((rule, "full") for rule in RULES), ("d_rtrl", "rule")])
def test_one_step_is_back_propagation(name: str, rule: str, credit: str):
    """With `credit="rule"`, but for weights that reach a state beside their trace: the rule leaves that path out."""
    of = problem(name, warm=True).first(1)
    learner = compiled(of, rule, 1, credit=credit)
    beside = {label.path for label in learner.certificate if any("also reaches" in str(r) for r in label.reasons)}
    grads, _, _ = driver(learner)(*of.arguments)
    assert set(differing(by_path(grads), of.bptt().grads)) == (beside if credit == "rule" else set())
