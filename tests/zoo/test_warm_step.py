"""One step from a warmed-up state is plain back-propagation, for every parameter: no path is counted twice."""

import jax
import pytest
from learners import RULES, compiled, differing, gradients
from oracles import by_path
from problems import problem

NAMES = ("lstm", "lstm_fused", "lstm_coupled", "gru_reset_before", "gru_reset_after", "mgu", "lif_current",
         "lif_current_vjp", "lif_current_recurrent")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("credit", ["full", "rule"])
def test_one_step_is_back_propagation(name: str, rule: str, credit: str):
    of = problem(name, warm=True).first(1)
    learner = compiled(of, rule, 1, credit=credit)
    found = jax.jit(lambda p, s, xs, ts: gradients(learner, p, s, xs, ts))(
        of.model.params, of.states, of.batched, of.ts
    )
    wanted = of.bptt().grads
    # The classical form keeps no path through other products, within the step either.
    kept = wanted if credit == "full" else {path: wanted[path] for path in wanted if path in traced(learner)}
    assert kept
    assert differing(by_path(found), kept) == {}


def traced(learner) -> set[str]:
    return {entry.path for entry in learner.certificate if str(entry.label) != "truncated"}
