"""Which arrays of a jaxpr receive the same cotangent because they end in the same sum."""

import jax
import jax.numpy as jnp
import pytest

from etir.backends.sums import receivers
from etir.ir import jaxpr as jx


def classes(function, count: int = 3, results: int = 1, shape=(2, 3)) -> list[int]:
    """For each argument the first one with the same receiver."""
    body, _ = jx.trace(function, *[jax.ShapeDtypeStruct(shape, jnp.float64)] * count)
    found = receivers(body, jx.argument_vars(body), results)
    return [found.index(x) for x in found]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda a, b, c: jnp.tanh(a + b + c), [0, 0, 0]),
        (lambda a, b, c: a + (b + 1.0) + c, [0, 0, 0]),
        (lambda a, b, c: sum([a, b, c]), [0, 0, 0]),
        (lambda a, b, c: a + b - c, [0, 0, 2]),
        (lambda a, b, c: jnp.sin(a + b) + c, [0, 0, 2]),
        (lambda a, b, c: (a + b + c) * c, [0, 0, 2]),
        (lambda a, b, c: a + b + b + c, [0, 1, 0]),
        (lambda a, b, c: (a + b) + (a + c), [0, 1, 1]),
        (lambda a, b, c: a + b[:1] + c, [0, 1, 0]),
        (lambda a, b, c: jax.lax.stop_gradient(a) + b + c, [0, 1, 1]),
        (lambda a, b, c: (a + b).astype(jnp.float32) + c.astype(jnp.float32), [0, 0, 2]),
        (lambda a, b, c: a * b, [0, 1, 2]),
    ],
)
def test_only_operands_of_one_sum_share_their_receiver(function, expected):
    assert classes(function) == expected


def test_a_sum_that_is_itself_a_result_and_used_further_ends_there():
    def function(a, b, c):
        first = a + b
        return first, first + c

    assert classes(function, results=2) == [0, 0, 2]


def test_uses_by_results_without_cotangents_do_not_count():
    assert classes(lambda a, b, c: (a + b + c, jnp.sin(b), c), results=1) == [0, 0, 0]
    assert classes(lambda a, b, c: (a + b + c, jnp.sin(b), c), results=3) == [0, 1, 2]


def test_the_receiver_has_the_cotangent_of_each_of_its_operands():
    def function(a, b, c):
        return jnp.sin(a + b) * jnp.cos(c)

    cotangents = jax.vjp(function, *jnp.arange(18.0).reshape(3, 2, 3))[1](jnp.ones((2, 3)))
    assert classes(function) == [0, 0, 2]
    assert (cotangents[0] == cotangents[1]).all()
