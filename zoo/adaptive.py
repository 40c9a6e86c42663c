"""Spiking neurons with more than two states: adaptive LIF, and the generalised integrate-and-fire neuron."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.nn.surrogate import fast_sigmoid_spike, triangular_spike
from ..frontend.state import HiddenTreeState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled
from .module import ZooModule

DECAY, SLOW, ADAPTATION, THRESHOLD = 0.85, 0.95, 0.4, 1.0


def _feedforward_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, sizes.hidden), "b": (sizes.hidden,), "readout": (sizes.hidden, sizes.outputs)}


def _recurrent_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _feedforward_shapes(sizes) | {"U": (sizes.hidden, sizes.hidden)}


def _adaptive_spikes(states: Any) -> Any:
    return triangular_spike(states["V"] - THRESHOLD - ADAPTATION * states["a"])


def _alif_with(drive: Any, params: Any, states: Any) -> Any:
    spikes = _adaptive_spikes(states)
    new = {"V": DECAY * states["V"] - THRESHOLD * spikes + drive, "a": SLOW * states["a"] + spikes}
    return new, _adaptive_spikes(new) @ params["readout"]


def _alif(params: Any, states: Any, x: Any) -> Any:
    return _alif_with(matmul(x, params["W"], params["b"]), params, states)


def _alif_recurrent(params: Any, states: Any, x: Any) -> Any:
    drive = matmul(x, params["W"], params["b"]) + matmul(_adaptive_spikes(states), params["U"])
    return _alif_with(drive, params, states)


def _gif_spikes(states: Any) -> Any:
    return fast_sigmoid_spike(states["V"] - states["Vth"])


def _gif_with(drive: Any, params: Any, states: Any) -> Any:
    """One Euler step of Mihalas and Niebur (2009), with made-up constants; jumps come first, from the old states."""
    spikes = _gif_spikes(states)
    fast = states["I1"] * (1 - spikes) + 0.3 * spikes
    slow = states["I2"] - 0.2 * spikes
    v = states["V"] * (1 - spikes)
    threshold = states["Vth"] + spikes * jnp.maximum(0.8 - states["Vth"], 0)
    new = {
        "I1": 0.6 * fast,
        "I2": 0.9 * slow,
        "V": v + 0.2 * (fast + slow - v) + drive,
        "Vth": threshold + 0.05 * v - 0.1 * (threshold - THRESHOLD),
    }
    return new, _gif_spikes(new) @ params["readout"]


def _gif(params: Any, states: Any, x: Any) -> Any:
    return _gif_with(matmul(x, params["W"], params["b"]), params, states)


def _gif_recurrent(params: Any, states: Any, x: Any) -> Any:
    drive = matmul(x, params["W"], params["b"]) + matmul(_gif_spikes(states), params["U"])
    return _gif_with(drive, params, states)


def _gif_at_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, jax.Array]:
    zeros = at_rest("I1", "I2", "V", "Vth")(sizes, batch, dtype)
    return zeros | {"Vth": jnp.full_like(zeros["Vth"], THRESHOLD)}


class GIF(ZooModule):
    """A layer of generalised integrate-and-fire neurons, their four states one tree."""

    W: ParamState
    b: ParamState
    readout: ParamState

    def hold(self, states: Any, buffers: tuple[str, ...]) -> None:
        """Hold the four states together."""
        self.neuron = HiddenTreeState(states)

    def update(self, x: Any) -> Any:
        """The readout of the new spikes."""
        drive = matmul(x, self.W.value, self.b.value)
        self.neuron.value, y = _gif_with(drive, {"readout": self.readout.value}, self.neuron.value)
        return y


def _spiking(
    name: str, about: str, step: Any, shapes: Any, initial: Any, spikes: Any, module: Any = None, **labels: str
) -> ZooCase:
    return ZooCase(
        module=module,
        name=name,
        about=about,
        step=step,
        shapes=shapes,
        initial=initial,
        labels=labelled(**labels),
        spikes=lambda states: spikes(states) > 0,
        smooth=False,
        offset=0.3,
        gain=1.5,
    )


CASES = (
    _spiking(
        "alif",
        "adaptive LIF: a threshold that every spike raises (custom_jvp)",
        _alif,
        _feedforward_shapes,
        at_rest("V", "a"),
        _adaptive_spikes,
        exact="W b readout",
    ),
    _spiking(
        "alif_recurrent",
        "adaptive LIF with dense recurrence",
        _alif_recurrent,
        _recurrent_shapes,
        at_rest("V", "a"),
        _adaptive_spikes,
        approximate="W b U",
        exact="readout",
    ),
    _spiking(
        "gif",
        "generalised integrate-and-fire, four states a neuron (custom_vjp)",
        _gif,
        _feedforward_shapes,
        _gif_at_rest,
        _gif_spikes,
        GIF,
        exact="W b readout",
    ),
    _spiking(
        "gif_recurrent",
        "generalised integrate-and-fire with dense recurrence",
        _gif_recurrent,
        _recurrent_shapes,
        _gif_at_rest,
        _gif_spikes,
        approximate="W b U",
        exact="readout",
    ),
)
