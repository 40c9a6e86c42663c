"""How a gradient's temporary memory grows with the length, the batch and the units: slopes on log-log axes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir.rules import Cascade

INPUTS = 8


def leaky(params: Any, states: Any, x: Any) -> Any:
    v = 0.9 * states["v"] + etir.matmul(x, params["w"]) + etir.matmul(jnp.tanh(states["v"]), params["u"])
    return {"v": v}, jnp.tanh(v)


def gated(params: Any, states: Any, x: Any) -> Any:
    """Two layers, the lower one's factor fixed, the upper one's a gate."""
    a = 0.8 * states["a"] + etir.matmul(x, params["w"])
    keep = jax.nn.sigmoid(etir.matmul(jnp.tanh(a), params["u"]))
    b = keep * states["b"] + (1 - keep) * a
    return {"a": a, "b": b}, b


def temporary(step: Any, states: str, rule: Any, *, steps: int, batch: int = 8, units: int = 64) -> int:
    """Bytes of the driver's temporaries; nothing runs."""
    kind = jnp.dtype("float32")
    params = {"w": jax.ShapeDtypeStruct((INPUTS, units), kind), "u": jax.ShapeDtypeStruct((units, units), kind)}
    held = {key: jax.ShapeDtypeStruct((batch, units), kind) for key in states}
    x, xs = (jax.ShapeDtypeStruct((*time, batch, INPUTS), kind) for time in ((), (steps,)))
    learner = etir.compile(step, params, held, x, rule=rule, window=16, on_truncated="ignore")
    driver = learner.grad(lambda y: (y**2).sum())
    carry = jax.eval_shape(lambda p, s: learner.init(p, s), params, held)
    return jax.jit(driver, donate_argnums=1).lower(params, carry, xs).compile().memory_analysis().temp_size_in_bytes


def slope(sizes: tuple[int, ...], found: list[int]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(found), 1)[0])


@pytest.mark.parametrize(
    ("step", "states", "rule"),
    [(leaky, "v", "d_rtrl"), (leaky, "v", "pp_prop"), (gated, "ab", Cascade(constants=4)), (leaky, "v", "e_prop")],
    ids=["d_rtrl", "pp_prop", "cascade", "e_prop"],
)
def test_memory_does_not_grow_with_the_length(step: Any, states: str, rule: Any):
    lengths = (512, 4096)
    assert abs(slope(lengths, [temporary(step, states, rule, steps=t) for t in lengths])) < 0.02


def test_backpropagation_grows_with_the_length():
    """The same measure, of a rule that keeps every step: it can fail."""
    lengths = (512, 2048)

    def bptt(steps: int) -> int:
        kind = jnp.dtype("float32")
        params = {"w": jnp.zeros((INPUTS, 64), kind), "u": jnp.zeros((64, 64), kind)}
        start, xs = {"v": jnp.zeros((8, 64), kind)}, jax.ShapeDtypeStruct((steps, 8, INPUTS), kind)

        def loss(params: Any, xs: Any) -> Any:
            return (jax.lax.scan(lambda s, x: leaky(params, s, x), start, xs)[1] ** 2).sum()

        return jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes

    assert slope(lengths, [bptt(t) for t in lengths]) > 0.9


def test_memory_grows_with_the_batch_and_the_units_as_the_traces_do():
    """`d_rtrl` beside its carry: at most in proportion to what a trace is, units x data for each sample."""
    batches, units = (8, 16, 32), (64, 128, 256)
    assert slope(batches, [temporary(leaky, "v", "d_rtrl", steps=512, batch=b) for b in batches]) < 1.05
    assert slope(units, [temporary(leaky, "v", "d_rtrl", steps=512, units=n) for n in units]) < 2.05
