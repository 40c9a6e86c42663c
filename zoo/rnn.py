"""Plain recurrent networks: dense, leaky, and with one recurrent weight a unit."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..frontend.state import HiddenState, ParamState
from ..ir.weight_operations import matmul, scale
from .case import Sizes, ZooCase
from .draw import at_rest, labelled
from .module import ZooModule

LEAK = 0.7


def _dense_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "U": (n, n), "b": (n,), "readout": (n, o)}


def _input_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "b": (n,), "readout": (n, o)}


def _vanilla(params: Any, states: Any, x: Any) -> Any:
    h = jnp.tanh(matmul(x, params["W"], params["b"]) + matmul(states["h"], params["U"]))
    return {"h": h}, h @ params["readout"]


def _leaky(params: Any, states: Any, x: Any) -> Any:
    drive = matmul(x, params["W"], params["b"]) + matmul(states["h"], params["U"])
    h = LEAK * states["h"] + (1 - LEAK) * jnp.tanh(drive)
    return {"h": h}, h @ params["readout"]


def _leaky_elementwise(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"], params["b"]))
    return {"h": h}, h @ params["readout"]


def _leaky_identity(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + matmul(x, params["W"])
    return {"h": h}, states["h"] * h


def _leaky_plain_input(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"]) + x @ params["V"] + params["b"])
    return {"h": h}, h @ params["readout"]


def _plain_recurrence(params: Any, states: Any, x: Any) -> Any:
    h = jnp.tanh(matmul(x, params["W"]) + states["h"] @ params["U"] + params["b"])
    return {"h": h}, h @ params["readout"]


def _diagonal(params: Any, states: Any, x: Any) -> Any:
    h = jnp.tanh(scale(states["h"], params["u"]) + matmul(x, params["W"], params["b"]))
    return {"h": h}, h @ params["readout"]


def _plain_leak(params: Any, states: Any, x: Any) -> Any:
    h = jnp.tanh(params["leak"]) * states["h"] + matmul(x, params["W"], params["b"])
    return {"h": h}, h @ params["readout"]


class VanillaRNN(ZooModule):
    """`tanh(x W + h U + b)` as a module."""

    W: ParamState
    U: ParamState
    b: ParamState
    readout: ParamState
    h: HiddenState

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        self.h.value = jnp.tanh(matmul(x, self.W.value, self.b.value) + matmul(self.h.value, self.U.value))
        return self.h.value @ self.readout.value


CASES = (
    ZooCase(
        name="rnn_vanilla",
        about="tanh(x W + h U + b)",
        step=_vanilla,
        module=VanillaRNN,
        shapes=_dense_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W U b", exact="readout"),
    ),
    ZooCase(
        name="rnn_leaky",
        about="leaky tanh network with dense recurrence",
        step=_leaky,
        shapes=_dense_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W U b", exact="readout"),
    ),
    ZooCase(
        name="leaky_elementwise",
        about="leaky integrator of tanh(x W + b), no recurrent weight",
        step=_leaky_elementwise,
        shapes=_input_shapes,
        initial=at_rest("h"),
        labels=labelled(exact="W b readout"),
    ),
    ZooCase(
        name="leaky_identity",
        about="a h + x W; the output reads the entering state as well as the new one, and no readout weight",
        step=_leaky_identity,
        shapes=lambda sizes: {"W": (sizes.inputs, sizes.hidden)},
        initial=at_rest("h"),
        labels=labelled(exact="W"),
    ),
    ZooCase(
        name="leaky_plain_input",
        about="leaky integrator with one marked weight, and one weight and a bias in plain operations",
        step=_leaky_plain_input,
        shapes=lambda sizes: {**_input_shapes(sizes), "V": (sizes.inputs, sizes.hidden)},
        initial=at_rest("h"),
        labels=labelled(exact="W readout", truncated="V b"),
    ),
    ZooCase(
        name="rnn_plain_recurrence",
        about="dense recurrence by plain `@`: the recurrent weight and the bias have no site",
        step=_plain_recurrence,
        shapes=_dense_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W", truncated="U b", exact="readout"),
    ),
    ZooCase(
        name="rnn_diagonal",
        about="tanh(u * h + x W + b): one recurrent weight a unit",
        step=_diagonal,
        shapes=lambda sizes: {**_input_shapes(sizes), "u": (sizes.hidden,)},
        initial=at_rest("h"),
        labels=labelled(exact="u W b readout"),
    ),
    ZooCase(
        name="leaky_plain_leak",
        about="leaky integrator whose learnt leak is a plain multiplication",
        step=_plain_leak,
        shapes=lambda sizes: {**_input_shapes(sizes), "leak": (sizes.hidden,)},
        initial=at_rest("h"),
        labels=labelled(exact="W b readout", truncated="leak"),
    ),
)
