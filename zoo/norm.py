"""Normalisation between the weights and the state: a direct path and statistics that mix every position."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir.weight_operations import bias, matmul, scale
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

LEAK = 0.7


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "U": (n, n), "gain": (n,), "shift": (n,), "readout": (n, o)}


def _leaky_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {path: shape for path, shape in _shapes(sizes).items() if path != "U"}


def _softmax_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, sizes.hidden), "readout": (sizes.hidden, sizes.outputs)}


def _near_one(params: Any) -> Any:
    return params | {"gain": 1 + params["gain"]}


def _layer_norm(params: Any, y: Any) -> Any:
    centred = y - y.mean(-1, keepdims=True)
    normal = centred * jax.lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-3)
    return bias(scale(normal, params["gain"]), params["shift"])


def _recurrent(params: Any, states: Any, x: Any) -> Any:
    h = jnp.tanh(_layer_norm(params, matmul(x, params["W"]) + matmul(states["h"], params["U"])))
    return {"h": h}, h @ params["readout"]


def _leaky(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(_layer_norm(params, matmul(x, params["W"])))
    return {"h": h}, h @ params["readout"]


def _softmax(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jax.nn.softmax(matmul(x, params["W"]), axis=-1)
    return {"h": h}, h @ params["readout"]


CASES = (
    ZooCase(
        name="layer_norm_rnn",
        about="tanh network with LayerNorm before the state",
        step=_recurrent,
        shapes=_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W U gain shift", exact="readout"),
        adjust=_near_one,
    ),
    ZooCase(
        name="layer_norm_leaky",
        about="leaky integrator of a LayerNorm: gain and shift act after the statistics, and are exact",
        step=_leaky,
        shapes=_leaky_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W", exact="gain shift readout"),
        adjust=_near_one,
    ),
    ZooCase(
        name="softmax_leaky",
        about="leaky integrator of a softmax",
        step=_softmax,
        shapes=_softmax_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate_or_truncated="W", exact="readout"),
    ),
)
