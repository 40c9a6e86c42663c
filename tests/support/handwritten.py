"""D-RTRL written by hand for three models, from the literature's formulas, and read out in both ways.

The recursion is that of Zucchet et al. 2023 and Menick et al. 2021 (SnAp-1), with recurrent products held, as
in Wang et al. (braintrace): `E <- D E + f x`, with D and f one number a position and state. Every derivative below is
worked out on paper; nothing here differentiates but the window's own reverse mode in `windowed`.

A model gives, per weight: `f` for each state (what a position's product does to that state) and the product's data. A
trace is a dictionary: weight -> state -> array of the weight's shape.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from oracles import Gradients, by_path, loss

LEAK = 0.7
Traces = dict[str, dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Handwritten:
    """A model's trace recursion, the states that have traces, and the one state that the readout sees."""

    states: tuple[str, ...]
    read: str
    advance: Callable[[Any, Any, Any, Traces], Traces]


def _onto(data: Any, f: Any) -> Any:
    """`f_j x_i` for a matrix, `f_j` for a bias (data None)."""
    return f if data is None else jnp.outer(data, f)


def _leaky_rnn(params: Any, states: Any, x: Any, traces: Traces) -> Traces:
    h = states["h"]
    y = jnp.tanh(x @ params["W"] + params["b"] + h @ params["U"])
    f = (1 - LEAK) * (1 - y**2)
    data = {"W": x, "U": h, "b": None}
    return {path: {"h": LEAK * traces[path]["h"] + _onto(d, f)} for path, d in data.items()}


def _gru_reset_after(params: Any, states: Any, x: Any, traces: Traces) -> Traces:
    h = states["h"]
    z = sigmoid(x @ params["Wz"] + params["bz"] + h @ params["Uz"])
    r = sigmoid(x @ params["Wr"] + params["br"] + h @ params["Ur"])
    m = h @ params["Uh"] + params["bh"]
    n = jnp.tanh(x @ params["Wh"] + r * m)
    to_n = (1 - z) * (1 - n**2)
    gate = {"z": (h - n) * z * (1 - z), "r": to_n * m * r * (1 - r)}
    local = {f"{kind}{g}": (data, f) for g, f in gate.items() for kind, data in (("W", x), ("U", h), ("b", None))}
    local |= {"Wh": (x, to_n), "Uh": (h, to_n * r), "bh": (None, to_n * r)}
    return {path: {"h": z * traces[path]["h"] + _onto(data, f)} for path, (data, f) in local.items()}


def _lstm(params: Any, states: Any, x: Any, traces: Traces) -> Traces:
    c, h = states["c"], states["h"]
    i, f, o = (sigmoid(x @ params[f"W{g}"] + params[f"b{g}"] + h @ params[f"U{g}"]) for g in "ifo")
    g = jnp.tanh(x @ params["Wg"] + params["bg"] + h @ params["Ug"])
    squashed = jnp.tanh(f * c + i * g)
    to_cell = {"i": g * i * (1 - i), "f": c * f * (1 - f), "g": i * (1 - g**2), "o": jnp.zeros_like(c)}
    to_output = {gate: jnp.zeros_like(c) for gate in "ifg"} | {"o": squashed * o * (1 - o)}
    new: Traces = {}
    for gate in "ifgo":
        for kind, data in (("W", x), ("U", h), ("b", None)):
            cell = f * traces[kind + gate]["c"] + _onto(data, to_cell[gate])
            output = o * (1 - squashed**2) * cell + _onto(data, to_output[gate])
            new[kind + gate] = {"c": cell, "h": output}
    return new


MODELS = {
    "rnn_leaky": Handwritten(states=("h",), read="h", advance=_leaky_rnn),
    "gru_reset_after": Handwritten(states=("h",), read="h", advance=_gru_reset_after),
    "lstm": Handwritten(states=("c", "h"), read="h", advance=_lstm),
}


def _no_traces(model: Handwritten, params: Any) -> Traces:
    weights = [path for path in params if path != "readout"]
    return {path: {state: jnp.zeros_like(params[path]) for state in model.states} for path in weights}


def _contract(signal: dict[str, Any], traces: Traces) -> dict[str, Any]:
    return {path: sum(signal[state] * trace for state, trace in of.items()) for path, of in traces.items()}


def per_step(name: str, step: Any, params: Any, states: Any, xs: Any, ts: Any) -> Gradients:
    """The classical form: at every step the readout's learning signal meets the new trace, `sum_t <L_t, E_t>`."""
    model = MODELS[name]

    @jax.jit
    def one(states: Any, traces: Traces, x: Any, target: Any) -> Any:
        traces = model.advance(params, states, x, traces)
        after, y = step(params, states, x)
        error = y - target
        grads = _contract({model.read: error @ params["readout"].T}, _only(traces, model.read))
        return after, traces, grads | {"readout": jnp.outer(after[model.read], error)}

    traces, total = _no_traces(model, params), jax.tree.map(jnp.zeros_like, params)
    for x, target in zip(xs[0], ts, strict=True):
        states, traces, grads = one(states, traces, x, target)
        total = jax.tree.map(jnp.add, total, grads)
    return by_path(total)


def _only(traces: Traces, state: str) -> Traces:
    return {path: {state: of[state]} for path, of in traces.items()}


def windowed(name: str, step: Any, params: Any, states: Any, xs: Any, ts: Any, window: int) -> Gradients:
    """The window identity: reverse mode inside each window, plus `<dl/dh0, E>` with the trace that entered it."""
    model = MODELS[name]

    def total_loss(params: Any, states: Any, x: Any, target: Any) -> Any:
        def body(states: Any, at: Any) -> Any:
            states, y = step(params, states, at[0])
            return states, loss(y, at[1])

        return jax.lax.scan(body, states, (x, target))[1].sum()

    back = jax.jit(jax.grad(total_loss, (0, 1)))
    advance, move = jax.jit(model.advance), jax.jit(lambda p, s, x: step(p, s, x)[0])
    traces, total = _no_traces(model, params), jax.tree.map(jnp.zeros_like, params)
    for start in range(0, len(ts), window):
        x, target = xs[0][start : start + window], ts[start : start + window]
        weight_bar, state_bar = back(params, states, x, target)
        entered = _contract(state_bar, traces) | {"readout": jnp.zeros_like(params["readout"])}
        total = jax.tree.map(lambda t, w, e: t + w + e, total, weight_bar, entered)
        for x_t in x:
            traces, states = advance(params, states, x_t, traces), move(params, states, x_t)
    return by_path(total)
