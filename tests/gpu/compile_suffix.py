"""What kernel 2 compiles to: one launch for all steps, and nothing held beside what it is given and gives."""

from typing import Any

import h200
import jax
import jax.numpy as jnp
import pytest

import etir
from etir.backends import Pallas
from etir.backends.pallas.suffix import Suffix
from etir.rules import EProp

F32 = jnp.dtype("float32")


def recurrence(carry: Any, rows: Any) -> tuple[Any, Any]:
    product, factor = carry[0], rows[0]
    return [product * factor], [product * jnp.tanh(rows[1])]


@pytest.mark.parametrize(("steps", "positions"), [(16, 65536), (1, 128), (300, 1000), (2, 1)])
def test_all_steps_are_one_launch(steps: int, positions: int):
    start, row = [jax.ShapeDtypeStruct((positions,), F32)], jax.ShapeDtypeStruct((steps, positions), F32)
    program = h200.compiled(Suffix(recurrence, steps).launch, start, [row, row])
    text = program.as_text()
    assert "while(" not in text
    if positions % 128 == 0:
        assert h200.passes(program, f"f32[{steps},{positions}]") == ["custom-call"]
        assert program.memory_analysis().temp_size_in_bytes < 1 << 10


@pytest.mark.parametrize("wide", [False, True], ids=["x32", "x64"])
def test_a_rule_that_reads_at_every_step_passes_over_its_trace_once_a_window(wide: bool):
    batch, inputs, units, steps = 16, 512, 1024, 32

    def step(params: Any, states: Any, x: Any) -> Any:
        v = jnp.linspace(0.7, 0.9, units, dtype=F32) * states["v"] + etir.matmul(x, params["W"])
        return {"v": v}, jnp.tanh(v) @ params["R"]

    with jax.enable_x64(wide):
        params = {"W": jnp.zeros((inputs, units), F32), "R": jnp.zeros((units, 2), F32)}
        states, x = {"v": jnp.zeros((batch, units), F32)}, jax.ShapeDtypeStruct((batch, inputs), F32)
        learner = etir.compile(step, params, states, x, rule=EProp(), window=16, backend=Pallas(interpreted=False))
        carry = jax.eval_shape(learner.init)
        xs, ts = (jax.ShapeDtypeStruct((steps, batch, n), F32) for n in (inputs, 2))
        driver = learner.grad(lambda y, t: ((y - t) ** 2).sum())
        program = h200.compiled(lambda *given: driver(*given), params, carry, xs, ts, donated=(1,))
    assert h200.passes(program, f"f32[{batch},{inputs},{units}]") == ["custom-call"]
    assert "suffix" in program.as_text()
