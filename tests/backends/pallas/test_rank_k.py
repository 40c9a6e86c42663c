"""Kernel 1, interpreted: what it gives for matrices of any shape, with tails, slots, groups and several states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etir.backends.pallas.rank_k import RankK
from etir.backends.pallas.target import takes_references

if takes_references():
    from jax.experimental.pallas.mosaic_gpu import InterpretGPUParams

interpreted = pytest.mark.skipif(not takes_references(), reason="this JAX interprets no kernels for a GPU")


@st.composite
def launches(draw: st.DrawFn) -> RankK:
    """A launch of at most three tiles, so that it takes seconds."""
    states, samples = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    pairs = ((0, 0), (0, 1), (1, 1)) if states == 2 else ((0, 0),)
    tall = draw(st.booleans())
    return RankK(
        outer=draw(st.integers(1, 2)),
        summed=samples * draw(st.integers(1, 2)),
        samples=samples,
        grouped=draw(st.integers(1, 2)),
        rows=draw(st.integers(1, 70 if tall else 20)),
        columns=draw(st.integers(1, 20 if tall else 70)),
        along=draw(st.integers(0, 1)),
        states=states,
        pairs=pairs,
        fed=tuple(range(draw(st.integers(1, states)))),
        steps=draw(st.sampled_from((2, 5, 16, 33))),
        reads=draw(st.booleans()),
        dtype=draw(st.sampled_from(("float32", "bfloat16"))),
    )


def operands(plan: RankK, seed: int = 0) -> tuple[list[Any], dict[str, Any]]:
    random = np.random.default_rng(seed)
    n, d, x = plan.outer * plan.summed * plan.grouped, plan.matrix[plan.along], plan.matrix[1 - plan.along]

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    arrays: dict[str, Any] = {
        "jacobians": [array(n, d) for _ in plan.pairs],
        "credit": [array(n, d) for _ in range(plan.states if plan.reads else 0)],
        "sensitivities": [array(plan.steps, n, d) for _ in plan.fed],
        "data": array(plan.steps, plan.outer * plan.samples * plan.grouped, x),
    }
    return [array(n, *plan.matrix).astype(plan.dtype) for _ in range(plan.states)], arrays


def differences(plan: RankK) -> list[float]:
    """Of each new trace and of the contraction, in units of what is allowed.

    That is 1e-5 of the largest element, and where numbers are held in bfloat16 one unit in an element's last place.
    """
    held, arrays = operands(plan)
    found = jax.jit(lambda held, arrays: plan.launch(held, arrays, InterpretGPUParams()))(held, arrays)
    with jax.default_matmul_precision("highest"):
        wanted = plan.by_definition(held, arrays)

    def far(a: Any, b: Any) -> float:
        unit = 2**-7 if a.dtype == jnp.bfloat16 else 0
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        return float((jnp.abs(a - b) / (1e-5 * jnp.abs(b).max() + unit * jnp.abs(b))).max())

    return [far(a, b) for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)]


@interpreted
@settings(max_examples=4)
@given(launches())
def test_it_equals_its_definition(plan: RankK):
    assert all(x < 1 for x in differences(plan)), plan


@interpreted
@pytest.mark.slow
@settings(max_examples=20)
@given(launches())
def test_it_equals_its_definition_often(plan: RankK):
    assert all(x < 1 for x in differences(plan)), plan


@given(launches())
def test_tiles_and_stretches_cover_everything(plan: RankK):
    rows, columns = plan.tiles
    assert (rows - 1) * 64 < plan.rows <= rows * 64
    assert (columns - 1) * plan.width < plan.columns <= columns * plan.width
    assert (plan.splits - 1) * plan.stretch < plan.summed <= plan.splits * plan.stretch
