"""Two layers: credit that must cross from one hidden group into another."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..frontend.module import Module
from ..frontend.state import HiddenState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, labelled

LEAK = 0.7


def _rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    lower, upper = sizes.hidden, sizes.hidden + 1
    return {"layers": [{"h": jnp.zeros((*batch, n), dtype)} for n in (lower, upper)]}


def _leaky_shapes(sizes: Sizes) -> dict[str, Any]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"layers": [{"W": (i, n), "b": (n,)}, {"W": (n, n + 1), "b": (n + 1,)}], "readout": (n + 1, o)}


def _dense_shapes(sizes: Sizes) -> dict[str, Any]:
    shapes, n = _leaky_shapes(sizes), sizes.hidden
    recurrent = ({"U": (n, n)}, {"U": (n + 1, n + 1)})
    return shapes | {"layers": [layer | u for layer, u in zip(shapes["layers"], recurrent, strict=True)]}


def _dense_layer(params: Any, h: Any, x: Any) -> Any:
    return jnp.tanh(matmul(x, params["W"], params["b"]) + matmul(h, params["U"]))


def _leaky_layer(params: Any, h: Any, x: Any) -> Any:
    return LEAK * h + jnp.tanh(matmul(x, params["W"], params["b"]))


def _two_layers(layer: Any) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        lower = layer(params["layers"][0], states["layers"][0]["h"], x)
        upper = layer(params["layers"][1], states["layers"][1]["h"], lower)
        return {"layers": [{"h": lower}, {"h": upper}]}, upper @ params["readout"]

    return step


def _delayed(params: Any, states: Any, x: Any) -> Any:
    below, above = (layer["h"] for layer in states["layers"])
    lower = _leaky_layer(params["layers"][0], below, x)
    upper = _leaky_layer(params["layers"][1], above, below)
    return {"layers": [{"h": lower}, {"h": upper}]}, upper @ params["readout"]


class DenseLayer(Module):
    """One dense tanh layer."""

    def __init__(self, params: Any, states: Any) -> None:
        self.W, self.U, self.b = (ParamState(params[name]) for name in "WUb")
        self.h = HiddenState(states["h"])

    def update(self, x: Any) -> Any:
        """The new state."""
        self.h.value = jnp.tanh(matmul(x, self.W.value, self.b.value) + matmul(self.h.value, self.U.value))
        return self.h.value


class TwoLayerRNN(Module):
    """Two dense layers and a readout as nested modules."""

    def __init__(self, params: Any, states: Any, buffers: tuple[str, ...] = ()) -> None:
        self.layers = [DenseLayer(*pair) for pair in zip(params["layers"], states["layers"], strict=True)]
        self.readout = ParamState(params["readout"])

    def update(self, x: Any) -> Any:
        """The readout of the upper layer's new state."""
        for layer in self.layers:
            x = layer(x)
        return x @ self.readout.value


CASES = (
    ZooCase(
        name="two_layer_rnn",
        about="two dense tanh layers of different widths, connected within the step",
        step=_two_layers(_dense_layer),
        module=TwoLayerRNN,
        shapes=_dense_shapes,
        initial=_rest,
        labels=labelled(
            approximate="layers.0.W layers.0.U layers.0.b layers.1.W layers.1.U layers.1.b", exact="readout"
        ),
    ),
    ZooCase(
        name="two_layer_leaky",
        about="two leaky element-wise layers: the upper is exact; the lower one's credit through the upper is dropped",
        step=_two_layers(_leaky_layer),
        shapes=_leaky_shapes,
        initial=_rest,
        labels=labelled(approximate="layers.0.W layers.0.b", exact="layers.1.W layers.1.b readout"),
    ),
    ZooCase(
        name="two_layer_delayed",
        about="two leaky layers, the upper one fed with the lower one's entering state: no path within the step",
        step=_delayed,
        shapes=_leaky_shapes,
        initial=_rest,
        labels=labelled(approximate="layers.0.W layers.0.b", exact="layers.1.W layers.1.b readout"),
    ),
)
