"""I5: every backend gives the reference backend's numbers."""

import jax
import pytest
from learners import compiled, differing, matrix
from oracles import by_path, loss
from problems import problem


def outcome(of, rule: str, window: int, backend: str):
    learner = compiled(of, rule, window, backend=backend)

    @jax.jit
    def drive(params, states, xs, ts):
        result = learner.grad(loss, reduction="sum")(params, learner.init(params, states), xs, ts)
        return result.grads, result.losses

    grads, losses = drive(of.model.params, of.states, of.batched, of.ts)
    return by_path(grads) | {"losses": losses}


@pytest.mark.parametrize("backend", ["xla"])
@matrix(rules=("d_rtrl", "pp_prop", "rtrl"), windows=(5, 2, 1))
def test_backend_agrees_with_the_reference(name: str, rule: str, window: int, backend: str):
    of = problem(name)
    assert differing(outcome(of, rule, window, backend), outcome(of, rule, window, "reference")) == {}
