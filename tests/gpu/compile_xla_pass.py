"""What XLA's own code for passes over traces compiles to: few operations over the whole trace, none for each entry."""

from typing import Any

import h200
import jax
import jax.numpy as jnp
import pytest

import etir
from etir.backends.folds import pieces

BATCH, INPUTS, UNITS, STEPS = 16, 512, 1024, 64
F32 = jnp.dtype("float32")
TRACE = BATCH * INPUTS * UNITS * 4


def step(params: Any, states: Any, x: Any) -> Any:
    v = jnp.tanh(0.8 * states["v"] + etir.matmul(x, params["w"]))
    return {"v": v}, v


def program(window: int, steps: int) -> Any:
    params, states = {"w": jnp.zeros((INPUTS, UNITS), F32)}, {"v": jnp.zeros((BATCH, UNITS), F32)}
    x = jax.ShapeDtypeStruct((BATCH, INPUTS), F32)
    learner = etir.compile(step, params, states, x, window=window, backend="xla", on_truncated="ignore")
    xs, ts = (jax.ShapeDtypeStruct((steps, BATCH, n), F32) for n in (INPUTS, UNITS))
    driver = learner.grad(lambda y, t: ((y - t) ** 2).sum())
    carry = jax.eval_shape(learner.init)
    return h200.compiled(lambda *given: driver(*given), params, carry, xs, ts, donated=(1,))


def test_a_fold_takes_one_product_and_one_pass():
    assert h200.passes(program(2, STEPS), f"f32[{BATCH},{INPUTS},{UNITS}]") == ["fusion", "fusion"]


def test_a_step_takes_one_pass():
    assert h200.passes(program(1, 1), f"f32[{BATCH},{INPUTS},{UNITS}]") == ["fusion"]


def test_pieces_are_written_in_place(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pieces, "PIECE", TRACE // 5)
    found = program(2, STEPS)
    assert [name for name in h200.passes(found, f"f32[{BATCH},{INPUTS},{UNITS}]") if "copy" in name] == []
    assert found.memory_analysis().alias_size_in_bytes >= TRACE


def test_edges_leave_no_array_of_edges_behind():
    """Of the trace there is one array; of what a step makes of the edges there is none."""
    neurons, degree, batch, steps = 1 << 14, 8, 32, 64
    sources = jax.random.randint(jax.random.key(0), (neurons, degree), 0, neurons)

    def step(params: Any, states: Any, x: Any) -> Any:
        spikes = jnp.tanh(states["v"])
        current = etir.einsum("bnd,nd->bn", spikes[:, sources], params["w"])
        return {"v": 0.9 * states["v"] + current + x}, states["v"]

    params, states = {"w": jnp.zeros((neurons, degree), F32)}, {"v": jnp.zeros((batch, neurons), F32)}
    x = jax.ShapeDtypeStruct((batch, neurons), F32)
    learner = etir.compile(step, params, states, x, window=1, backend="xla", on_truncated="ignore")
    xs = jax.ShapeDtypeStruct((steps, batch, neurons), F32)
    driver = learner.grad(lambda y, t: ((y - t) ** 2).sum())
    carry = jax.eval_shape(learner.init)
    found = h200.compiled(lambda *given: driver(*given), params, carry, xs, xs, donated=(1,))
    trace = batch * neurons * degree * 4
    assert found.memory_analysis().temp_size_in_bytes < trace
    assert [name for name in h200.passes(found, f"f32[{batch},{neurons},{degree}]") if "copy" in name] == []
