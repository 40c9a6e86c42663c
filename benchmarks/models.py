"""The models of the suite, in plain JAX, at any size: shapes are [B, n], sequences [T, B, inputs]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .lif import spike
from .problem import Problem

Array = jax.Array
Draw = np.random.Generator


def _normal(draw: Draw, *shape: int, scale: float = 1.0) -> Array:
    return jnp.asarray(draw.normal(size=shape) * scale / shape[0] ** 0.5, jnp.float32)


def _sequence(draw: Draw, steps: int, batch: int, inputs: int, outputs: int) -> tuple[Array, Array]:
    xs, ts = (jnp.asarray(draw.normal(size=(steps, batch, k)), jnp.float32) for k in (inputs, outputs))
    return xs, ts


def _rest(batch: int, n: int, names: str) -> dict[str, Array]:
    return {name: jnp.zeros((batch, n), jnp.float32) for name in names}


def lif(n: int, batch: int, steps: int, inputs: int = 128, *, through_reset: bool = True) -> Problem:
    """Leaky integrate-and-fire neurons with dense recurrence: one state, one weight of [inputs + n, n].

    Credit passes `through_reset`, or does not: then all neurons' traces are one.
    """
    draw = np.random.default_rng(0)
    params = {"w": jnp.concatenate([_normal(draw, inputs, n, scale=2.0), _normal(draw, n, n)])}

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        z = spike(s["v"] - 1.0)
        reset = z if through_reset else jax.lax.stop_gradient(z)
        v = 0.9 * s["v"] - reset + jnp.concatenate([x, z], -1) @ p["w"]
        return {"v": v}, v

    return Problem(step, params, _rest(batch, n, "v"), *_sequence(draw, steps, batch, inputs, n))


def alif(n: int, batch: int, steps: int, inputs: int = 128) -> Problem:
    """The same with a threshold that adapts: two states a neuron."""
    draw = np.random.default_rng(1)
    params = {"w": _normal(draw, inputs + n, n, scale=3.0)}

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        z = spike(s["v"] - 1.0 - 0.4 * s["a"])
        v = 0.85 * s["v"] - z + jnp.concatenate([x, z], -1) @ p["w"]
        return {"v": v, "a": 0.95 * s["a"] + z}, v

    return Problem(step, params, _rest(batch, n, "va"), *_sequence(draw, steps, batch, inputs, n))


def gru_cell(p: Mapping[str, Array], h: Array, x: Array) -> Array:
    """The new state of a gated recurrent unit with the weights `r`, `z` and `g`, each of [inputs + n, n]."""
    u = jnp.concatenate([x, h], -1)
    r, z = jax.nn.sigmoid(u @ p["r"]), jax.nn.sigmoid(u @ p["z"])
    return (1 - z) * h + z * jnp.tanh(jnp.concatenate([x, r * h], -1) @ p["g"])


def gru(n: int, batch: int, steps: int, inputs: int = 128) -> Problem:
    """A gated recurrent unit, a weight a gate."""
    draw = np.random.default_rng(2)

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        h = gru_cell(p, s["h"], x)
        return {"h": h}, h

    params = {k: _normal(draw, inputs + n, n) for k in "rzg"}
    return Problem(step, params, _rest(batch, n, "h"), *_sequence(draw, steps, batch, inputs, n))


def lstm_cell(gates: Mapping[str, Array], c: Array) -> tuple[Array, Array]:
    """The new cell and the output of a long short-term memory, given its gates' inputs `i`, `f`, `g` and `o`."""
    c = jax.nn.sigmoid(gates["f"] + 1) * c + jax.nn.sigmoid(gates["i"]) * jnp.tanh(gates["g"])
    return c, jax.nn.sigmoid(gates["o"]) * jnp.tanh(c)


def lstm(n: int, batch: int, steps: int, inputs: int = 128, *, fused: bool = True) -> Problem:
    """A long short-term memory, by one weight for its four gates or by one for each."""
    draw = np.random.default_rng(3)
    params = {k: _normal(draw, inputs + n, n) for k in "ifgo"}
    if fused:
        params = {"w": jnp.concatenate(list(params.values()), -1)}

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        u = jnp.concatenate([x, s["h"]], -1)
        gates = jnp.split(u @ p["w"], 4, -1) if fused else [u @ p[k] for k in "ifgo"]
        c, h = lstm_cell(dict(zip("ifgo", gates, strict=True)), s["c"])
        return {"h": h, "c": c}, h

    return Problem(step, params, _rest(batch, n, "hc"), *_sequence(draw, steps, batch, inputs, n))


def tanh_rnn(n: int, batch: int, steps: int) -> Problem:
    """`h' = tanh([x, h] W)`, whose positions meet at every step: only RTRL is exact."""
    draw = np.random.default_rng(4)

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        h = jnp.tanh(jnp.concatenate([x, s["h"]], -1) @ p["w"])
        return {"h": h}, h

    params = {"w": _normal(draw, n // 2 + n, n)}
    return Problem(step, params, _rest(batch, n, "h"), *_sequence(draw, steps, batch, n // 2, n))


def stack(n: int, batch: int, steps: int, layers: int) -> Problem:
    """LSTM layers of one width, all weights traced."""
    draw = np.random.default_rng(5)

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        new: list[Any] = []
        for w, now in zip(p, s, strict=True):
            gates = jnp.split(jnp.concatenate([x, now["h"]], -1) @ w, 4, -1)
            c, x = lstm_cell(dict(zip("ifgo", gates, strict=True)), now["c"])
            new.append({"h": x, "c": c})
        return new, x

    params = [_normal(draw, 2 * n, 4 * n) for _ in range(layers)]
    return Problem(step, params, [_rest(batch, n, "hc")] * layers, *_sequence(draw, steps, batch, n, n))


def gated_linear_attention(n: int, batch: int, steps: int, inputs: int = 64) -> Problem:
    """A state of [B, n, n], `S' = a S + k (x) v` a gate for each key (Yang et al. 2024): exact, at states x data."""
    draw = np.random.default_rng(6)

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        q, k, v = x @ p["q"], x @ p["k"], x @ p["v"]
        gate = jax.nn.sigmoid(x @ p["a"] + 2.0)
        memory = gate[..., None] * s["S"] + k[..., None] * v[:, None, :]
        return {"S": memory}, jnp.einsum("bk,bkv->bv", q, memory)

    params = {k: _normal(draw, inputs, n) for k in "qkva"}
    states = {"S": jnp.zeros((batch, n, n), jnp.float32)}
    return Problem(step, params, states, *_sequence(draw, steps, batch, inputs, n))


def sparse(n: int, batch: int, steps: int, degree: int = 8) -> Problem:
    """Spiking neurons with `degree` edges into each, three states a neuron, the edges gathered by hand.

    A weight [n, degree] multiplies the spikes of the neurons that `sources` names; current, voltage, adaptation.
    """
    draw = np.random.default_rng(7)
    sources = jnp.asarray(draw.integers(0, n, (n, degree)), jnp.int32)

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        z = spike(s["v"] - 1.0 - 0.2 * s["a"])
        current = 0.8 * s["i"] + jnp.sum(z[:, sources] * p["w"], -1) + x
        v = 0.9 * s["v"] - z + current
        return {"i": current, "v": v, "a": 0.97 * s["a"] + z}, v

    params = {"w": jnp.asarray(draw.normal(size=(n, degree)) / degree**0.5, jnp.float32)}
    return Problem(step, params, _rest(batch, n, "iva"), *_sequence(draw, steps, batch, n, n))
