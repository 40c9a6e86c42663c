"""D-RTRL of one layer beside BPTT: `taskset -c 0 python -m benchmarks.layers` for one core, without for all of them.

ALIF, GRU and LSTM of 256 units, 128 inputs and a batch of 16, window 16, T = 512. The distance is between the two
gradients: what D-RTRL leaves out where a weight's outputs meet in the next step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import etir

from .harness import Program, compare, table
from .lif import loss, spike

UNITS, INPUTS, BATCH, STEPS, WINDOW = 256, 128, 16, 512, 16
Array = jax.Array
Matmul = Callable[[Array, Array], Array]


def alif(params: Any, states: Any, x: Array, matmul: Matmul = jnp.matmul) -> tuple[Any, Array]:
    """Spiking neurons whose threshold adapts."""
    v, a = states["v"], states["a"]
    z = spike(v - 1.0 - 0.4 * a)
    v = 0.85 * v - z + matmul(jnp.concatenate([x, z], -1), 3.0 * params["w"])
    return {"v": v, "a": 0.95 * a + z}, v


def gru(params: Any, states: Any, x: Array, matmul: Matmul = jnp.matmul) -> tuple[Any, Array]:
    """A gated recurrent unit, a weight a gate."""
    h = states["h"]
    u = jnp.concatenate([x, h], -1)
    r, z = (jax.nn.sigmoid(matmul(u, params[k])) for k in "rz")
    h = (1 - z) * h + z * jnp.tanh(matmul(jnp.concatenate([x, r * h], -1), params["g"]))
    return {"h": h}, h


def lstm(params: Any, states: Any, x: Array, matmul: Matmul = jnp.matmul) -> tuple[Any, Array]:
    """A long short-term memory, a weight a gate."""
    u = jnp.concatenate([x, states["h"]], -1)
    i, f, g, o = (matmul(u, params[k]) for k in "ifgo")
    c = jax.nn.sigmoid(f + 1) * states["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return {"h": h, "c": c}, h


LAYERS: dict[str, tuple[Any, str, str]] = {
    "ALIF": (alif, "w", "va"),
    "GRU": (gru, "rzg", "h"),
    "LSTM": (lstm, "ifgo", "hc"),
}


def programs(step: Any, weights: str, states: str) -> list[Program]:
    """BPTT, and the compiled learner."""
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = {k: jax.random.normal(next(keys), (INPUTS + UNITS, UNITS)) / (INPUTS + UNITS) ** 0.5 for k in weights}
    start = {k: jnp.zeros((BATCH, UNITS)) for k in states}
    xs = jax.random.normal(next(keys), (STEPS, BATCH, INPUTS))
    ts = jax.random.normal(next(keys), (STEPS, BATCH, UNITS))
    traced = partial(step, matmul=etir.matmul)
    learner = etir.compile(traced, params, start, xs[0], rule="d_rtrl", window=WINDOW, on_truncated="ignore")
    driver = learner.grad(loss)

    def bptt(params: Any, xs: Array, ts: Array) -> Any:
        def total(params: Any) -> Array:
            def body(now: Any, xt: tuple[Array, Array]) -> tuple[Any, Array]:
                now, y = step(params, now, xt[0])
                return now, loss(y, xt[1])

            return jax.lax.scan(body, start, (xs, ts))[1].sum()

        return jax.grad(total)(params)

    def online(params: Any, carry: Any, xs: Array, ts: Array) -> Any:
        result = driver(params, carry, xs, ts)
        return result.grads, result.carry

    carry = learner.init(params, start)
    return [
        Program(name="bptt", run=bptt, args=(params, xs, ts)),
        Program(name="etir", run=online, args=(params, carry, xs, ts), gradients=lambda r: r[0], donate=(1,)),
    ]


def main() -> None:
    """Print one table for each layer."""
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}")
    for name, layer in LAYERS.items():
        print(table(f"\n{name}", compare(programs(*layer), steps=STEPS, rounds=7)), flush=True)


if __name__ == "__main__":
    main()
