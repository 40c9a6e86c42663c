"""What kernel 1 compiles to: traces are written in place, and passed over once."""

from typing import Any

import h200
import jax
import jax.numpy as jnp
import pytest

import etir
from etir.backends import Pallas
from etir.backends.pallas.rank_k import RankK

F32 = jnp.dtype("float32")


def launch(**changes: Any) -> RankK:
    one: dict[str, Any] = {"outer": 1, "grouped": 1, "states": 1, "pairs": ((0, 0),), "fed": (0,), "reads": True}
    large = {"summed": 64, "samples": 64, "rows": 4096, "columns": 4096, "along": 1, "steps": 16, "dtype": "float32"}
    return RankK(**one | large | changes)


def shapes(plan: RankK) -> tuple[list[Any], dict[str, Any]]:
    n, d, x = plan.outer * plan.summed * plan.grouped, plan.matrix[plan.along], plan.matrix[1 - plan.along]

    def array(*shape: int, dtype: Any = F32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    return [array(n, *plan.matrix, dtype=jnp.dtype(plan.dtype)) for _ in range(plan.states)], {
        "jacobians": [array(n, d) for _ in plan.pairs],
        "credit": [array(n, d) for _ in range(plan.states if plan.reads else 0)],
        "sensitivities": [array(plan.steps, n, d) for _ in plan.fed],
        "data": array(plan.steps, plan.outer * plan.samples * plan.grouped, x),
    }


def bytes_of(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"steps": 4},
        {"along": 0},
        {"dtype": "bfloat16", "along": 0, "summed": 128, "samples": 128},
        {"states": 2, "pairs": ((0, 0), (0, 1), (1, 1)), "fed": (0, 1), "rows": 4000, "columns": 4100},
    ],
    ids=["tensor cores", "few steps", "rows", "bfloat16", "two states with tails"],
)
def test_a_trace_is_read_once_and_written_once_in_place(changes: dict[str, Any]):
    plan = launch(**changes)
    held, arrays = shapes(plan)
    program = h200.compiled(lambda held, arrays: plan.launch(held, arrays), held, arrays, donated=(0,))
    assert program.memory_analysis().alias_size_in_bytes == bytes_of(held)
    assert h200.peak(program) <= 1.05 * bytes_of(held)
    kind = "f32" if plan.dtype == "float32" else "bf16"
    assert h200.passes(program, f"{kind}[{','.join(map(str, held[0].shape))}]") == ["custom-call"]


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": 1, "columns": 8, "steps": 2},
        {"rows": 100, "columns": 40, "steps": 33, "grouped": 3, "outer": 2, "along": 0},
        {"rows": 39, "columns": 10, "steps": 16, "summed": 6, "samples": 3},
        {"rows": 65, "columns": 72, "dtype": "bfloat16", "steps": 17, "reads": False},
        {"rows": 96, "columns": 96, "states": 5, "pairs": tuple((k, k) for k in range(5)), "fed": (1, 4), "steps": 20},
    ],
)
def test_every_shape_compiles(changes: dict[str, Any]):
    plan = launch(**changes)
    assert h200.compiled(lambda held, arrays: plan.launch(held, arrays), *shapes(plan)) is not None


@pytest.mark.parametrize("wide", [False, True], ids=["x32", "x64"])
def test_a_driver_copies_no_trace(wide: bool):
    batch, inputs, units, steps = 16, 512, 1024, 64

    def step(params: Any, states: Any, x: Any) -> Any:
        v = 0.8 * states["v"] + etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"])
        h = jnp.tanh(v)
        return {"v": v, "h": h}, h @ params["R"]

    with jax.enable_x64(wide):
        params = {
            "W": jnp.zeros((inputs, units), F32),
            "U": jnp.zeros((units, units), F32),
            "R": jnp.zeros((units, 2), F32),
        }
        states = {key: jnp.zeros((batch, units), F32) for key in "vh"}
        x = jax.ShapeDtypeStruct((batch, inputs), F32)
        backend = Pallas(interpreted=False)
        learner = etir.compile(step, params, states, x, window=2, backend=backend, on_truncated="ignore")
        carry = jax.eval_shape(learner.init)
        xs, ts = (jax.ShapeDtypeStruct((steps, batch, n), F32) for n in (inputs, 2))
        driver = learner.grad(lambda y, t: ((y - t) ** 2).sum())
        program = h200.compiled(lambda *given: driver(*given), params, carry, xs, ts, donated=(1,))
    for shape in (f"f32[{batch},{inputs},{units}]", f"f32[{batch},{units},{units}]"):
        found = h200.passes(program, shape)
        assert found.count("custom-call") == 1
        assert [name for name in found if "copy" in name] == []
