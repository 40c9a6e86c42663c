"""I5: every backend gives the reference backend's numbers."""

import pytest
from learners import compiled, differing, driver, thin_matrix
from oracles import by_path
from problems import problem


def outcome(of, rule: str, window: int, backend: str):
    grads, losses, _ = driver(compiled(of, rule, window, backend=backend))(*of.arguments)
    return by_path(grads) | {"losses": losses}


@pytest.mark.parametrize("backend", ["xla"])
@thin_matrix(rules=("d_rtrl", "pp_prop", "rtrl"), windows=(5, 2, 1))
def test_backend_agrees_with_the_reference(name: str, rule: str, window: int, backend: str):
    of = problem(name)
    assert differing(outcome(of, rule, window, backend), outcome(of, rule, window, "reference")) == {}
