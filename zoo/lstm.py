"""Long short-term memory without peepholes: gates apart, fused, and coupled."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid

from ..frontend.state import HiddenGroupState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import at_rest, labelled
from .module import ZooModule


def _separate_shapes(sizes: Sizes, gates: str = "ifgo") -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    weights = {f"W{gate}": (i, n) for gate in gates} | {f"U{gate}": (n, n) for gate in gates}
    return weights | {f"b{gate}": (n,) for gate in gates} | {"readout": (n, o)}


def _gate(params: Any, gate: str, x: Any, h: Any) -> Any:
    return matmul(x, params[f"W{gate}"], params[f"b{gate}"]) + matmul(h, params[f"U{gate}"])


def _separate(params: Any, states: Any, x: Any) -> Any:
    i, f, g, o = (_gate(params, gate, x, states["h"]) for gate in "ifgo")
    c = sigmoid(f) * states["c"] + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return {"c": c, "h": h}, h @ params["readout"]


def _fused(params: Any, states: Any, x: Any) -> Any:
    gates = matmul(x, params["W"], params["b"]) + matmul(states["h"], params["U"])
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    c = sigmoid(f) * states["c"] + sigmoid(i) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return {"c": c, "h": h}, h @ params["readout"]


def _fused_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, 4 * n), "U": (n, 4 * n), "b": (4 * n,), "readout": (n, o)}


def _coupled(params: Any, states: Any, x: Any) -> Any:
    f, g, o = (_gate(params, gate, x, states["h"]) for gate in "fgo")
    f = sigmoid(f)
    c = f * states["c"] + (1 - f) * jnp.tanh(g)
    h = sigmoid(o) * jnp.tanh(c)
    return {"c": c, "h": h}, h @ params["readout"]


class LSTM(ZooModule):
    """The fused unit as a module; cell and output are one group of states."""

    W: ParamState
    U: ParamState
    b: ParamState
    readout: ParamState

    def hold(self, states: Any, buffers: tuple[str, ...]) -> None:
        """Hold the two states together."""
        self.memory = HiddenGroupState(states)

    def update(self, x: Any) -> Any:
        """The readout of the new output state."""
        gates = matmul(x, self.W.value, self.b.value) + matmul(self.memory["h"], self.U.value)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = sigmoid(f) * self.memory["c"] + sigmoid(i) * jnp.tanh(g)
        self.memory.value = {"c": c, "h": sigmoid(o) * jnp.tanh(c)}
        return self.memory["h"] @ self.readout.value


CASES = (
    ZooCase(
        name="lstm",
        about="four gates apart; the cell reaches the output state within the step",
        step=_separate,
        shapes=_separate_shapes,
        initial=at_rest("c", "h"),
        labels=labelled(approximate="Wi Ui bi Wf Uf bf Wg Ug bg Wo Uo bo", exact="readout"),
    ),
    ZooCase(
        name="lstm_fused",
        about="four gates in one input product and one recurrent product",
        step=_fused,
        module=LSTM,
        shapes=_fused_shapes,
        initial=at_rest("c", "h"),
        labels=labelled(approximate="W U b", exact="readout"),
    ),
    ZooCase(
        name="lstm_coupled",
        about="coupled input and forget gates, i = 1 - f",
        step=_coupled,
        shapes=lambda sizes: _separate_shapes(sizes, "fgo"),
        initial=at_rest("c", "h"),
        labels=labelled(approximate="Wf Uf bf Wg Ug bg Wo Uo bo", exact="readout"),
    ),
)
