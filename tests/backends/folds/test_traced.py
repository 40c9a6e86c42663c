"""Functions traced once, and run often: what is done once, outside the loops that run them."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from etir.backends.folds import traced
from etir.backends.folds.traced import TURNED_FROM, Traced

DRAW = np.random.default_rng(0)
W, Y = jnp.asarray(DRAW.normal(size=(3, 4))), jnp.asarray(DRAW.normal(size=(2, 4)))


def back(y: Any) -> Any:
    return jnp.einsum("bj,ij->bi", y, W) + y @ jnp.ones((4, 3))


def turned(runs: int) -> int:
    """How many products are with a matrix that is transposed once; the result is that of the function."""
    own = Traced(back, jnp.zeros_like(Y), runs=runs)
    np.testing.assert_allclose(own(Y), back(Y), rtol=1e-12)
    return len(own.turned)


def test_a_matrix_that_does_not_change_is_transposed_once():
    assert turned(TURNED_FROM) == 1


def test_few_runs_do_not_pay_for_that():
    assert turned(TURNED_FROM - 1) == 0


def test_a_large_matrix_is_not_held_twice(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traced, "TURNED", W.nbytes - 1)
    assert turned(TURNED_FROM) == 0


def test_a_matrix_that_changes_is_not_transposed():
    own = Traced(lambda y, w: jnp.einsum("bj,ij->bi", y, w), jnp.zeros_like(Y), jnp.zeros_like(W), runs=TURNED_FROM)
    np.testing.assert_allclose(own(Y, W), Y @ W.T, rtol=1e-12)
    assert not own.turned


def test_equations_without_operands_stay():
    own = Traced(lambda y: y * jnp.arange(4), jnp.zeros_like(Y), runs=TURNED_FROM)
    np.testing.assert_allclose(own(Y), Y * jnp.arange(4), rtol=1e-12)
