"""Axes along which values and derivatives do not change: said of no axis along which one does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etir.ir import jaxpr as jx
from etir.ir.unchanging import Unchanging

ROWS, COLUMNS = 3, 4
X = jax.ShapeDtypeStruct((ROWS, COLUMNS), jnp.float64)
ROW = jax.ShapeDtypeStruct((COLUMNS,), jnp.float64)
NUMBER = jax.ShapeDtypeStruct((), jnp.float64)


def known(function: Any, *examples: Any) -> tuple[Unchanging, Any]:
    body, _ = jx.trace(function, *examples)
    return Unchanging(body), jx.outvars(body)[0]


CASES = {
    "a number's multiple": (lambda x, row, n: 0.9 * x, set(), {0, 1}),
    "a fed number's": (lambda x, row, n: n * x, set(), {0, 1}),
    "a row's": (lambda x, row, n: row * x, set(), {0}),
    "a column's": (lambda x, row, n: x[:, :1] * 0 + row.sum() * x, set(), {0, 1}),
    "a sum": (lambda x, row, n: 0.5 * x + row, set(), {0, 1}),
    "a square": (lambda x, row, n: x * x, set(), set()),
    "a quotient": (lambda x, row, n: x / row, set(), {0}),
    "a function of it": (lambda x, row, n: jnp.tanh(x), set(), set()),
    "a function of a number": (lambda x, row, n: jax.nn.sigmoid(n) * x, set(), {0, 1}),
    "a row along columns": (lambda x, row, n: jnp.broadcast_to(jnp.exp(row), x.shape) + 0 * n, {0}, {0, 1}),
    "chosen by a number": (lambda x, row, n: jnp.where(n > 0, x, 0.0), set(), {0, 1}),
    "chosen by itself": (lambda x, row, n: jnp.where(x > 0, x, 0.0), set(), set()),
    "chosen by a row": (lambda x, row, n: jnp.where(row > 0, 2 * x, x), set(), {0}),
    "turned": (lambda x, row, n: (row * x).T, set(), {1}),
    "each row's own number": (lambda x, row, n: x.sum(1, keepdims=True) * 0.0 + n * x, set(), {0, 1}),
    "a scaled sum": (lambda x, row, n: jnp.broadcast_to(x.sum(1, keepdims=True), x.shape), {1}, {0, 1}),
    "the largest": (lambda x, row, n: jnp.broadcast_to(x.max(1, keepdims=True), x.shape), {1}, {1}),
    "a product": (lambda x, row, n: x @ jnp.ones((COLUMNS, 2)), {1}, {0, 1}),
    "joined": (lambda x, row, n: jnp.concatenate([x, 0 * x], 1), set(), {0}),
    "numbered": (lambda x, row, n: x * jnp.arange(COLUMNS), set(), {0}),
    "random": (lambda x, row, n: x * jax.random.gamma(jax.random.key(0), jnp.ones(x.shape)), set(), set()),
    "solved for": (
        lambda x, row, n: (
            jax.lax.custom_linear_solve(lambda v: v * row, jnp.broadcast_to(n, row.shape), lambda _, b: b / row)
            + 0.0 * x
        ),
        set(),
        {0, 1},
    ),
    "a rule of its own": (lambda x, row, n: jax.nn.relu(n) * x, set(), {0, 1}),
    "through a scan": (lambda x, row, n: jax.lax.scan(lambda c, _: (0.5 * c, None), x, None, 2)[0], set(), set()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_known(name: str):
    function, values, derivatives = CASES[name]
    found, result = known(function, X, ROW, NUMBER)
    assert found.value(result) == values
    assert found.derivative(result, found.arguments[0]) == derivatives


STEPS = {
    "twice": lambda x, y: 2 * x,
    "times the other": lambda x, y: x * y,
    "plus the other": lambda x, y: x + y,
    "over one plus its square": lambda x, y: x / (1 + y * y),
    "by rows": lambda x, y: x * jnp.arange(1.0, ROWS + 1)[:, None],
    "by columns": lambda x, y: x + jnp.arange(COLUMNS),
    "its own mean of rows": lambda x, y: jnp.broadcast_to(x.mean(0), x.shape),
    "its own sum": lambda x, y: x * x.sum(),
    "largest of rows": lambda x, y: jnp.broadcast_to(x.max(1, keepdims=True), x.shape) * y,
    "squashed": lambda x, y: jnp.tanh(x),
    "rectified": lambda x, y: jnp.where(y > 0, x, 0.3 * x),
    "there and back": lambda x, y: x.T[::-1].T,
    "exchanged": lambda x, y: y,
    "constant": lambda x, y: jnp.full_like(x, 1.5),
    "in rows of one": lambda x, y: x.reshape(ROWS, 1, COLUMNS)[:, 0] * y[:, :1],
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans()), min_size=1, max_size=6))
def test_what_is_said_not_to_change_does_not(steps: list[tuple[str, bool]]):
    def function(x: Any, y: Any) -> Any:
        for name, first in steps:
            x, y = (STEPS[name](x, y), y) if first else (x, STEPS[name](y, x))
        return x * 1.0

    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, ROWS, COLUMNS))
    body, _ = jx.trace(function, x, y)
    found, result = Unchanging(body), jx.outvars(body)[0]
    value, pushed = jax.jvp(lambda x: function(x, y), (x,), (jnp.ones_like(x),))
    for axes, array in (found.value(result), value), (found.derivative(result, found.arguments[0]), pushed):
        for axis in axes:
            first = jax.lax.slice_in_dim(array, 0, 1, axis=axis)
            np.testing.assert_allclose(array, jnp.broadcast_to(first, array.shape), rtol=1e-12)
