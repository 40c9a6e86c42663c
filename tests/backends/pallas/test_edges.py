"""Kernel 3: what it gives for graphs and lanes of any number, with tails, several states and traces in fewer bits."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etir.backends.pallas.target import takes_references

pytest.importorskip("absl")
from etir.backends.pallas.edges import ROOM, Edges

if takes_references():
    from jax.experimental.pallas.mosaic_gpu import InterpretGPUParams

interpreted = pytest.mark.skipif(not takes_references(), reason="this JAX interprets no kernels for a GPU")
SOURCES, TARGETS = 5, 4
PAIRS = {0: ((),), 1: (((0, 0),), ()), 2: (((0, 0), (0, 1), (1, 1)), ((1, 0),))}


@st.composite
def launches(draw: st.DrawFn, lanes: int = 9, edges: int = 150) -> Edges:
    """A launch; one without states is a product alone."""
    states, count = draw(st.integers(0, 2)), draw(st.integers(1, edges))
    random = np.random.default_rng(draw(st.integers(0, 99)))
    return Edges(
        source=random.integers(0, SOURCES, count).astype(np.int32),
        target=random.integers(0, TARGETS, count).astype(np.int32),
        lanes=draw(st.integers(1, lanes)),
        states=states,
        pairs=draw(st.sampled_from(PAIRS[states])),
        fed=draw(st.sampled_from(((0,), (1, 0)))) if states == 2 else (0,),
        steps=draw(st.sampled_from((1, 2, 5, 40))),
        reads=not states or draw(st.booleans()),
        dtype=draw(st.sampled_from(("float32", "bfloat16"))),
    )


def operands(plan: Edges) -> tuple[list[Any], dict[str, Any]]:
    random = np.random.default_rng(plan.edges)

    def array(*shape: int) -> Any:
        return jnp.asarray(random.normal(size=shape), jnp.float32)

    return [array(plan.lanes, plan.edges).astype(plan.dtype) for _ in range(plan.states)], {
        "jacobians": [array(plan.lanes, TARGETS) for _ in plan.pairs],
        "credit": [array(plan.lanes, TARGETS) for _ in range(plan.states if plan.reads else 0)],
        "sensitivities": [array(plan.steps, plan.lanes, TARGETS) for _ in plan.fed],
        "data": array(plan.steps, plan.lanes, SOURCES),
    }


def by_hand(plan: Edges, held: list[Any], arrays: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray | None]:
    """The same, edge by edge, in float64."""
    old = [np.asarray(x.astype(jnp.float32), np.float64) for x in held]
    arrays = jax.tree.map(lambda x: np.asarray(x, np.float64), arrays)
    new = [np.zeros((plan.lanes, plan.edges)) for _ in range(max(1, plan.states))]
    read = np.zeros(plan.edges)
    for e, (i, j) in enumerate(zip(plan.source, plan.target, strict=True)):
        for (of, on), x in zip(plan.pairs, arrays["jacobians"], strict=True):
            new[of][:, e] += x[:, j] * old[on][:, e]
        for of, s in zip(plan.fed, arrays["sensitivities"], strict=True):
            new[of][:, e] += (s[:, :, j] * arrays["data"][:, :, i]).sum(0)
        read[e] = sum((c[:, j] * x[:, e]).sum() for c, x in zip(arrays["credit"], old, strict=False))
    return (new, read if plan.reads else None) if plan.states else ([], new[0].sum(0))


def far(found: Any, wanted: Any, kind: str) -> float:
    """How far they are apart, in units of what is allowed: 1e-5 of the largest; in bfloat16 its last place as well."""
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    unit = 2**-7 if kind == "bfloat16" else 0

    def one(a: Any, b: Any) -> float:
        a, b = np.asarray(a.astype(jnp.float32), np.float64), np.asarray(b, np.float64)
        return float((np.abs(a - b) / (1e-5 * max(np.abs(b).max(), 1e-3) + unit * np.abs(b))).max())

    return max(one(a, b) for a, b in pairs)


@settings(max_examples=5)
@given(launches())
def test_its_definition_is_the_recursion_by_hand(plan: Edges):
    held, arrays = operands(plan)
    assert far(plan.by_definition(held, arrays), by_hand(plan, held, arrays), plan.dtype) < 1


def interpreted_is_far(plan: Edges) -> float:
    held, arrays = operands(plan)
    found = jax.jit(lambda held, arrays: plan.launch(held, arrays, InterpretGPUParams()))(held, arrays)
    return far(found, by_hand(plan, held, arrays), plan.dtype)


@interpreted
@settings(max_examples=2)
@given(launches(lanes=5, edges=70))
def test_it_equals_the_recursion_by_hand(plan: Edges):
    assert interpreted_is_far(plan) < 1, plan


@interpreted
@pytest.mark.slow
@settings(max_examples=12)
@given(launches(lanes=140))
def test_it_equals_the_recursion_by_hand_often(plan: Edges):
    assert interpreted_is_far(plan) < 1, plan


@interpreted
@pytest.mark.slow
def test_more_lanes_than_threads_and_more_loads_than_are_written_out():
    plan = Edges(
        source=np.arange(40, dtype=np.int32) % SOURCES, target=np.arange(40, dtype=np.int32) // 10, lanes=160, states=1,
        pairs=((0, 0),), fed=(0,), steps=40, reads=True, dtype="float32",
    )  # fmt: skip
    assert plan.tiles > 1
    assert plan.chunks > 8
    assert interpreted_is_far(plan) < 1


@given(launches(lanes=300))
def test_tiles_cover_the_lanes_and_fit_in_shared_memory(plan: Edges):
    assert (plan.tiles - 1) * plan.tile < plan.lanes <= plan.tiles * plan.tile
    assert (plan.chunks - 1) * plan.side < plan.steps <= plan.chunks * plan.side
    assert plan.tile % plan.at_once == 0
    assert plan.tile * plan.side == 128
    assert plan._room(plan.tile) <= ROOM
