"""Traces that are the same along an axis of the weight have none of it; and one that is said to be so, and is not."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import bptt, loss, relative_error

import etir
from etir.ir.plan import Contract
from etir.rules.shared import positional
from etir.rules.shared.alike import Alike

BATCH, INPUTS, UNITS, STEPS = 3, 5, 4, 7
DRAW = np.random.default_rng(0)
RATES = jnp.asarray([0.5, 0.9])


def array(*shape: int) -> Any:
    return jnp.asarray(DRAW.normal(size=shape))


def leaky(of_state: Any) -> Any:
    def step(p: Any, s: Any, x: Any) -> Any:
        v = of_state(p, s["v"], x) + x @ p["w"]
        return {"v": v}, jnp.tanh(v)

    return step


def spiking(p: Any, s: Any, x: Any) -> Any:
    """A reset that no credit passes through, as in most spiking networks."""
    z = jax.lax.stop_gradient((s["v"] > 1.0).astype(x.dtype))
    v = 0.9 * s["v"] - z + x @ p["w"] + p["b"]
    return {"v": v}, jnp.tanh(v)


def three_states(p: Any, s: Any, x: Any) -> Any:
    i = 0.8 * s["i"] + x @ p["w"]
    v = 0.9 * s["v"] + 0.1 * i
    a = 0.95 * s["a"] + 0.1 * v
    return {"i": i, "v": v, "a": a}, jnp.tanh(v - a)


def by_heads(p: Any, s: Any, x: Any) -> Any:
    v = RATES[:, None] * s["v"] + jnp.einsum("bi,ihj->bhj", x, p["w"])
    return {"v": v}, jnp.tanh(v)


def attention(p: Any, s: Any, x: Any) -> Any:
    k, v = x @ p["k"], x @ p["v"]
    memory = jax.nn.sigmoid(x @ p["w"])[..., None] * s["S"] + k[..., None] * v[:, None]
    return {"S": memory}, memory.sum(1)


V = {"v": array(BATCH, UNITS)}
W = {"w": array(INPUTS, UNITS)}
CASES: dict[str, tuple[Any, Any, Any, dict[str, tuple[int, ...]]]] = {
    "a number": (leaky(lambda p, v, x: 0.9 * v), W, V, {"w": (BATCH, INPUTS)}),
    "a number a sample": (
        leaky(lambda p, v, x: jax.nn.sigmoid(x @ p["g"])[:, None] * v), W | {"g": array(INPUTS)}, V,
        {"w": (BATCH, INPUTS), "g": (BATCH, INPUTS, UNITS)},
    ),
    "a number a unit": (
        leaky(lambda p, v, x: jnp.linspace(0.5, 0.9, UNITS) * v), W, V, {"w": (BATCH, INPUTS, UNITS)}
    ),
    "its own function": (leaky(lambda p, v, x: jnp.sin(v)), W, V, {"w": (BATCH, INPUTS, UNITS)}),
    "a spiking reset": (
        spiking, W | {"b": array(UNITS)}, V, {"w": (BATCH, INPUTS), "b": ()}
    ),
    "three states": (three_states, W, {k: array(BATCH, UNITS) for k in "iva"}, {"w": (BATCH, INPUTS)}),
    "a number a head": (
        by_heads, {"w": array(INPUTS, 2, UNITS)}, {"v": array(BATCH, 2, UNITS)}, {"w": (BATCH, INPUTS, 2)}
    ),
    "linear attention": (
        attention, {k: array(INPUTS, UNITS) for k in "kvw"}, {"S": array(BATCH, UNITS, UNITS)},
        {"v": (BATCH, INPUTS, UNITS), "k": (BATCH, INPUTS, UNITS, UNITS), "w": (BATCH, INPUTS, UNITS, UNITS)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_the_trace_is_as_small_as_it_is_the_same_and_exact(name: str, window: int):
    step, params, states, shapes = CASES[name]
    xs = array(STEPS, BATCH, INPUTS)
    ts = array(STEPS, *jax.eval_shape(step, params, states, xs[0])[1].shape)
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", window=window, sites="auto")
    contractions = [op for op in learner.transition.plan.operations if isinstance(op, Contract)]
    found = {op.association.site.weight.paths[0]: op.trace[0].type.shape for op in contractions}
    assert {path: found[path] for path in shapes} == shapes
    wanted = bptt(step, params, states, (xs,), ts).grads
    whole = learner.grad(loss)(params, learner.init(params, states), xs, ts).grads
    for path, grad in wanted.items():
        assert learner.certificate[path].label == "exact"
        assert relative_error(whole[path], grad) < 1e-12


def test_step_by_step_it_is_exact_too():
    step, params, states, _ = CASES["three states"]
    xs, ts = array(STEPS, BATCH, INPUTS), array(STEPS, BATCH, UNITS)
    learner = etir.compile(step, params, states, xs[0], rule="d_rtrl", sites="auto")

    def one(params: Any, carry: Any, x: Any, target: Any) -> Any:
        carry, y = learner.step(params, carry, x)
        return loss(y, target), carry

    carry, total = learner.init(params, states), jnp.zeros_like(params["w"])
    for x, target in zip(xs, ts, strict=True):
        grads, carry = jax.grad(one, has_aux=True)(params, carry, x, target)
        total = total + grads["w"]
    assert relative_error(total, bptt(step, params, states, (xs,), ts).grads["w"]) < 1e-12


def test_a_trace_that_is_said_to_be_the_same_and_is_not_is_not_called_exact(monkeypatch: pytest.MonkeyPatch):
    class Liar(Alike):
        def along(self, *given: Any) -> str:
            return "c" if super().along(*given) == "" else ""

    monkeypatch.setattr(positional, "Alike", Liar)
    step, params, states, _ = CASES["a number a unit"]
    learner = etir.compile(step, params, states, array(BATCH, INPUTS), sites="auto", on_truncated="ignore")
    assert learner.certificate["w"].label != "exact"
