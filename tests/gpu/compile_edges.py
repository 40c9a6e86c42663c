"""What kernel 3 compiles to: traces of edges are written in place, and nothing else has as many entries."""

import math
import re
from typing import Any

import h200
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir.backends import Pallas
from etir.backends.pallas.edges import Edges

F32 = jnp.dtype("float32")
NEURONS, DEGREE, BATCH = 1 << 12, 24, 32


def launch(edges: int, neurons: int = NEURONS, **changes: Any) -> Edges:
    random = np.random.default_rng(0)
    one: dict[str, Any] = {"lanes": BATCH, "states": 1, "pairs": ((0, 0),), "fed": (0,), "steps": 4, "reads": True}
    places = {key: random.integers(0, neurons, edges).astype(np.int32) for key in ("source", "target")}
    return Edges(**places | one | {"dtype": "float32"} | changes)


def shapes(plan: Edges, neurons: int = NEURONS) -> tuple[list[Any], dict[str, Any]]:
    def array(*shape: int, dtype: Any = F32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    return [array(plan.lanes, plan.edges, dtype=jnp.dtype(plan.dtype)) for _ in range(plan.states)], {
        "jacobians": [array(plan.lanes, neurons) for _ in plan.pairs],
        "credit": [array(plan.lanes, neurons) for _ in range(plan.states * plan.reads)],
        "sensitivities": [array(plan.steps, plan.lanes, neurons) for _ in plan.fed],
        "data": array(plan.steps, plan.lanes, neurons),
    }


def bytes_of(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def large(program: Any, least: int) -> set[str]:
    """The shapes of so many entries or more that operations outside fusions give or take."""
    found = {shape for shape in re.findall(r"\b[a-z]+\d+\[[\d,]+\]", program.as_text()) if h200.passes(program, shape)}
    return {shape for shape in found if math.prod(map(int, shape.split("[")[1][:-1].split(","))) >= least}


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, 3),
        ({"dtype": "bfloat16"}, 3),
        ({"states": 2, "pairs": ((0, 0), (0, 1), (1, 1)), "fed": (0, 1)}, 5),
        ({"states": 0, "pairs": ()}, 2),
    ],
    ids=["one state", "bfloat16", "two states", "a product alone"],
)
def test_beside_the_trace_there_are_rows_of_neurons(changes: dict[str, Any], rows: int):
    plan = launch(NEURONS * DEGREE, **changes)
    held, arrays = shapes(plan)
    program = h200.compiled(lambda held, arrays: plan.launch(held, arrays), held, arrays, donated=(0,))
    allowed = rows * 4 * 4 * BATCH * NEURONS + 5 * 4 * plan.edges  # rows, and the contraction in four parts
    assert program.memory_analysis().alias_size_in_bytes == bytes_of(held)
    assert program.memory_analysis().temp_size_in_bytes < allowed < 4 * BATCH * plan.edges
    kind = "bf16" if plan.dtype == "bfloat16" else "f32"
    traces = {f"{kind}[{BATCH},{plan.edges}]"} if held else set()
    assert large(program, BATCH * plan.edges) == traces
    for shape in traces:
        assert h200.passes(program, shape) == ["custom-call"]


@pytest.mark.parametrize("wide", [False, True], ids=["x32", "x64"])
@pytest.mark.parametrize(
    "changes",
    [
        {"edges": 40, "lanes": 1, "steps": 130},
        {"edges": 1000, "lanes": 3, "steps": 2},
        {"edges": 999, "lanes": 6, "steps": 9, "dtype": "bfloat16", "reads": False},
        {"edges": 77, "lanes": 140, "steps": 17, "states": 3, "pairs": ((0, 0), (2, 1)), "fed": (2, 0)},
        {"edges": 300, "lanes": 5, "steps": 7, "states": 0, "pairs": ()},
    ],
)
def test_every_shape_compiles(changes: dict[str, Any], wide: bool):
    plan = launch(neurons=50, **changes)
    with jax.enable_x64(wide):
        assert h200.compiled(lambda held, arrays: plan.launch(held, arrays), *shapes(plan, 50)) is not None


def learner(backend: Any, rule: str, window: int) -> tuple[Any, Any]:
    """A learner of neurons with edges into each, and the parameters."""
    sources = np.random.default_rng(0).integers(0, NEURONS, (NEURONS, DEGREE))

    def step(params: Any, states: Any, x: Any) -> Any:
        current = etir.einsum("bnd,nd->bn", jnp.tanh(states["v"])[:, sources], params["w"])
        return {"v": 0.9 * states["v"] + current + x}, states["v"]

    params, states = {"w": jnp.zeros((NEURONS, DEGREE), F32)}, {"v": jnp.zeros((BATCH, NEURONS), F32)}
    x, options = jax.ShapeDtypeStruct((BATCH, NEURONS), F32), {"rule": rule, "window": window}
    return etir.compile(step, params, states, x, backend=backend, on_truncated="ignore", **options), params


def driven(backend: Any, rule: str, window: int) -> Any:
    """The gradient of a sequence, of fewer steps than a neuron has edges."""
    one, params = learner(backend, rule, window)
    carry, xs = jax.eval_shape(one.init), jax.ShapeDtypeStruct((16, BATCH, NEURONS), F32)
    driver = one.grad(lambda y, t: ((y - t) ** 2).sum())
    return h200.compiled(lambda *given: driver(*given), params, carry, xs, xs, donated=(1,))


@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 1), ("d_rtrl", 8), ("pp_prop", 8)])
def test_a_driver_makes_nothing_of_edges_but_the_trace(rule: str, window: int):
    program, edges = driven(Pallas(interpreted=False), rule, window), BATCH * NEURONS * DEGREE
    assert large(program, edges) <= {f"f32[{BATCH},{NEURONS},{DEGREE}]", f"f32[{BATCH},{NEURONS * DEGREE}]"}
    assert "edges" in program.as_text()


def test_without_the_kernel_a_window_has_no_history_of_edges_either():
    found = large(driven("xla", "d_rtrl", 8), 8 * BATCH * NEURONS * DEGREE)
    assert found == set()
