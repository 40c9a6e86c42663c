"""Which data are picked of a smaller array by an index that is a constant."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from etir.coupling.primitives.picked import Picked, picked_data
from etir.ir import jaxpr as jx

INDEX = np.array([[0, 2], [1, 1], [4, 0]])


def picked(function: Any, *operands: Any) -> Picked | None:
    """How the one result of a function is picked."""
    body, _ = jx.trace(function, *operands)
    (result,) = jx.outvars(body)
    return picked_data(body, [result]).get(result)


@pytest.mark.parametrize(
    ("function", "axis", "kept"),
    [
        (lambda z: z[:, INDEX], 1, (0,)),
        (lambda z: z[jnp.asarray(INDEX)], 0, (2,)),
        (lambda z: z.at[:, INDEX[:, 0]].get(mode="promise_in_bounds"), 1, (0,)),
    ],
)
def test_what_a_constant_index_takes_along_one_axis_is_picked(function: Any, axis: int, kept: tuple[int, ...]):
    z = jnp.arange(25.0).reshape(5, 5)
    found = picked(function, z)
    assert found is not None
    assert (found.axis, found.kept) == (axis, kept)
    np.testing.assert_array_equal(found.of(z), function(z))


@pytest.mark.parametrize(
    "function",
    [
        lambda z, k: z[:, k],
        lambda z, k: jnp.take(z, INDEX + 3, 1, mode="fill", fill_value=0),
        lambda z, k: jax.lax.dynamic_slice(z, (0, 1), (5, 2)),
        lambda z, k: z[INDEX[:, 0], INDEX[:, 1]],
        lambda z, k: z[:, INDEX] + 1,
    ],
    ids=["places that are no constants", "places outside", "a slice", "places along two axes", "more than that"],
)
def test_nothing_else_is(function: Any):
    assert picked(function, jnp.zeros((5, 5)), jnp.zeros(2, jnp.int32)) is None
