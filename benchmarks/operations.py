"""The models of the suite whose weights are no dense matrices: convolutions, tables, low ranks on frozen edges."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .lif import spike
from .problem import Problem

Array = jax.Array


def spiking_convolution(size: int, batch: int, steps: int, channels: int = 16) -> Problem:
    """A layer of leaky integrate-and-fire neurons behind a 3 x 3 convolution of stride 2, pooled where it is read."""
    draw = np.random.default_rng(8)
    side = size // 2
    kernel = draw.normal(size=(3, 3, 4, channels)) / 3
    read = draw.normal(size=(side * side // 4 * channels, 16)) / side

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        dims = ("NHWC", "HWIO", "NHWC")
        drive = jax.lax.conv_general_dilated(x, p["kernel"], (2, 2), "SAME", dimension_numbers=dims)
        z = spike(s["v"] - 1.0)
        v = 0.9 * s["v"] - z + drive
        pooled = v.reshape(batch, side // 2, 2, side // 2, 2, channels).mean((2, 4))
        return {"v": v}, pooled.reshape(batch, -1) @ p["read"]

    params = {"kernel": jnp.asarray(kernel, jnp.float32), "read": jnp.asarray(read, jnp.float32)}
    xs, ts = (draw.normal(size=(steps, batch, *s)) for s in ((size, size, 4), (16,)))
    states = {"v": jnp.zeros((batch, side, side, channels), jnp.float32)}
    return Problem(step, params, states, jnp.asarray(xs, jnp.float32), jnp.asarray(ts, jnp.float32))


def embedding(rows: int, features: int, batch: int, steps: int) -> Problem:
    """Leaky states that rows of a table are added to, by a sequence of indices."""
    draw = np.random.default_rng(9)

    def step(p: Any, s: Any, ids: Array) -> tuple[Any, Array]:
        h = 0.8 * s["h"] + jnp.tanh(p["table"][ids])
        return {"h": h}, h

    params = {"table": jnp.asarray(draw.normal(size=(rows, features)), jnp.float32)}
    ids = jnp.asarray(draw.integers(0, rows, (steps, batch)), jnp.int32)
    ts = jnp.asarray(draw.normal(size=(steps, batch, features)), jnp.float32)
    return Problem(step, params, {"h": jnp.zeros((batch, features), jnp.float32)}, ids, ts)


def connectome(n: int, edges: int, rank: int, steps: int) -> Problem:
    """Spiking neurons on a frozen graph, learned beside it: `z W0 + (z A) B` of this rank. B = 1.

    `n` = 130,000 and 15 million edges are about those of a fly's brain.
    """
    draw = np.random.default_rng(10)
    low = {
        "A": jnp.asarray(draw.standard_normal((n, rank), np.float32) / n**0.5),
        "B": jnp.asarray(draw.standard_normal((rank, n), np.float32) * 0.1),
    }
    graph = {
        "source": jnp.asarray(draw.integers(0, n, edges, np.int32)),
        "target": jnp.asarray(np.sort(draw.integers(0, n, edges, np.int32))),
        "weight": jnp.asarray(draw.standard_normal(edges, np.float32) / (edges / n) ** 0.5),
    }

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        z, graph = spike(s["v"] - 1.0), p["graph"]
        sent = z[0, graph["source"]] * graph["weight"]
        fixed = jax.ops.segment_sum(sent, graph["target"], n, indices_are_sorted=True)
        v = 0.9 * s["v"] - z + fixed + (z @ p["A"]) @ p["B"] + x
        return {"v": v}, v

    xs, ts = (jnp.asarray(draw.standard_normal((steps, 1, n), np.float32)) for _ in range(2))
    return Problem(step, low | {"graph": graph}, {"v": jnp.zeros((1, n), jnp.float32)}, xs, ts)
