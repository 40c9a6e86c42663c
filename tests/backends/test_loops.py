"""Loops that programs are made of, against what Python's own give."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from etir.backends.loops import count_down, count_up


def _noted(k, now):
    """Which turn wrote where, with one thing more of another type beside it."""
    return {"order": now["order"].at[now["turns"]].set(k), "turns": now["turns"] + 1, "x": now["x"] * 2.0 + k}


def _start(room):
    return {"order": jnp.full(room, -1), "turns": jnp.int32(0), "x": jnp.float32(1)}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize(("loop", "way"), [(lambda n, *of: count_up(0, n, *of), 1), (count_down, -1)])
def test_turns_come_in_order(loop, way, count, traced):
    run = lambda n: loop(n, _noted, _start(6))  # noqa: E731
    found = jax.jit(run)(count) if traced else run(count)
    expected = list(range(count))[::way]
    assert list(found) == ["order", "turns", "x"]
    np.testing.assert_array_equal(found["order"], [*expected, *[-1] * (6 - count)])
    assert found["turns"] == count
    x = 1.0
    for k in expected:
        x = x * 2.0 + k
    assert found["x"] == x
