"""`docs/coverage.md` says what the program says, and what it says is true."""

from pathlib import Path
from typing import Any

import coverage_cells as coverage
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, differing
from oracles import by_path

import etir

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"
CELLS = [(o, c, r) for c in coverage.CONSTRUCTS for o in coverage.OPERATIONS for r in coverage.RULE_NAMES]


def loss(y: jax.Array) -> jax.Array:
    return jnp.sum(jnp.sin(y))


def bptt(of: coverage.Model) -> Any:
    """The gradient by JAX through a scan of the step as the user wrote it."""

    def total(params: Any) -> jax.Array:
        def body(states: Any, x: jax.Array) -> Any:
            after, y = of.step(params, states, x)
            return after, loss(y)

        return jax.lax.scan(body, of.states, of.xs)[1].sum()

    return jax.grad(total)(of.params)


def fault(operation: str, construct: str, rule: str) -> str | None:
    """What is wrong with the gradient of a cell."""
    found = coverage.planned(operation, construct, rule)
    if isinstance(found, str):
        return None
    transition, step = found
    of, learner = coverage.model(operation, construct), etir.emit(transition, signature=step)
    signals = {s.path: jnp.ones((coverage.STEPS, *s.value.type.shape)) for s in transition.plan.signals}
    carry = learner.init(key=jax.random.key(0))
    grads = by_path(learner.grad(loss)(of.params, carry, of.xs, **signals).grads)
    if not all(np.isfinite(g).all() for g in grads.values()):
        return "not finite"
    label = str(transition.certificate["w"].label)
    wrong = differing(grads, by_path(bptt(of)), EXACT) if label == "exact" else {}
    return f"labelled exact, and differs by {wrong}" if wrong else None


def test_the_page_is_what_the_program_says(golden: Any):
    golden(str(PAGE), coverage.page())


@pytest.mark.parametrize("share", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 24))])
def test_what_the_page_says_is_true(share: int):
    cells = CELLS[share::24]
    found = {cell: said for cell in cells if (said := fault(*cell)) is not None}
    assert found == {}
