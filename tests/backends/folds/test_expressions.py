"""What a step keeps of a function that takes long to compute is not computed again on the way back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import driver

import etir
from etir.backends.folds.expressions import ZERO, Expressions, repeated
from etir.backends.folds.traced import Traced
from etir.ir import jaxpr as jx

X = jnp.asarray([1.0, 2.0, 4.0])
PICK = jax.lax.GatherDimensionNumbers(offset_dims=(), collapsed_slice_dims=(0,), start_index_map=(0,))


def found(function: Any, *types: Any) -> list[int]:
    """The numbers of a function's results, its arguments numbered as they come."""
    numbers = Expressions()
    body, _ = jx.trace(function, *types)
    of = numbers.of(body, [numbers.leaf(k) for k, _ in enumerate(types)])
    return [of[var] for var in jx.outvars(body)]


@pytest.mark.parametrize(
    "pair",
    [
        lambda x, y: (jnp.tanh(x * y), jnp.tanh(x * y)),
        lambda x, y: (jnp.exp(x), jnp.exp(jax.lax.stop_gradient(x) + jnp.zeros(3))),
        lambda x, y: (x, jnp.zeros(3) + x),
        lambda x, y: (x + 2.5, x + jnp.float32(2.5)),
    ],
)
def test_the_same_expression_has_one_number(pair: Any):
    one, other = found(pair, X, X)
    assert one == other


@pytest.mark.parametrize(
    "pair",
    [
        lambda x, y: (jnp.tanh(x), jnp.tanh(y)),
        lambda x, y: (jnp.tanh(x), jnp.exp(x)),
        lambda x, y: (x - y, y - x),
        lambda x, y: (x + 2.5, x + 2.25),
        lambda x, y: (x[:2], x[1:]),
        lambda x, y: (x, x.astype(jnp.float16).astype(jnp.float32)),
        lambda x, y: (x + jnp.arange(3.0), x + jnp.arange(3.0, 0, -1)),
        lambda x, y: (x, x + jnp.zeros((2, 3))),
        lambda x, y: (jax.jit(jnp.tanh)(x), jax.jit(jnp.tanh)(x)),
    ],
    ids=["operand", "operation", "order", "literal", "parameter", "rounded", "array", "broadcast", "a jaxpr inside"],
)
def test_different_expressions_have_different_numbers(pair: Any):
    one, other = found(pair, X, X)
    assert one != other


def test_what_is_given_is_not_computed():
    numbers = Expressions()
    known = numbers.of(jx.trace(lambda x: jnp.tanh(2 * x), X)[0], [numbers.leaf("x")])
    tanh = list(known.values())[-1]

    def again(x: Any, y: Any) -> Any:
        del y
        return x * jnp.tanh(2 * x)

    def given(body: Any) -> Any:
        return repeated(numbers.of(body, [numbers.leaf("x"), tanh]), body, jx.argument_vars(body)[1:])

    traced = Traced(again, X, X, given=given)
    assert traced.reads == [[True], [True]]
    np.testing.assert_array_equal(traced(X, jnp.full(3, 7.0)), 7 * X)


def test_zeros_are_not_read_from_what_is_kept():
    numbers = Expressions()
    body, _ = jx.trace(lambda x: jnp.zeros(3) + jnp.tanh(x), X)
    assert repeated(numbers.of(body, [ZERO]), body, jx.argument_vars(body)) == {}


def lstm(params: Any, states: Any, x: Any) -> Any:
    i, f, g, o = jnp.split(etir.matmul(jnp.concatenate([x, states["h"]], -1), params["w"]), 4, -1)
    c = jax.nn.sigmoid(f + 1) * states["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return {"h": h, "c": c}, h


def count(jaxpr: Any, names: tuple[str, ...]) -> int:
    inside = sum(count(sub, names) for eqn in jx.equations(jaxpr) for sub in jx.sub_jaxprs(eqn))
    return inside + sum(eqn.primitive.name in names for eqn in jx.equations(jaxpr))


def test_gates_are_computed_once_a_step():
    params, states = {"w": jnp.ones((5, 12))}, {k: jnp.zeros((2, 3)) for k in "hc"}
    xs, ts = jnp.ones((6, 2, 2)), jnp.ones((6, 2, 3))
    learner = etir.compile(lstm, params, states, xs[0], window=2, on_truncated="ignore")
    body, _ = jx.trace(driver(learner), params, states, xs, ts)
    assert count(body, ("logistic", "tanh", "exp")) == 5
