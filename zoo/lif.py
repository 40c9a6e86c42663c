"""Leaky integrate-and-fire layers: delta and exponential-current synapses, with and without recurrence."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.nn.surrogate import fast_sigmoid_spike, triangular_spike
from ..frontend.state import HiddenGroupState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled
from .module import ZooModule

DECAY, SYNAPSE, THRESHOLD = 0.9, 0.8, 1.0


def _feedforward_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, sizes.hidden), "readout": (sizes.hidden, sizes.outputs)}


def _recurrent_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _feedforward_shapes(sizes) | {"U": (sizes.hidden, sizes.hidden)}


def _joint_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n = sizes.inputs, sizes.hidden
    return {"W": (i + n, n), "readout": (n, sizes.outputs)}


def _above_threshold(states: Any) -> jax.Array:
    return states["V"] > THRESHOLD


def _delta(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    v = DECAY * v - THRESHOLD * triangular_spike(v - THRESHOLD) + matmul(x, params["W"])
    return {"V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]


def _delta_vjp(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    v = DECAY * v - THRESHOLD * fast_sigmoid_spike(v - THRESHOLD) + matmul(x, params["W"])
    return {"V": v}, fast_sigmoid_spike(v - THRESHOLD) @ params["readout"]


def _delta_joint(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    spikes = triangular_spike(v - THRESHOLD)
    v = DECAY * v - THRESHOLD * spikes + matmul(jnp.concatenate([x, spikes], -1), params["W"])
    return {"V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]


def _delta_spike_state(params: Any, states: Any, x: Any) -> Any:
    integrated = DECAY * states["V"] + matmul(x, params["W"]) + matmul(states["s"], params["U"])
    spikes = fast_sigmoid_spike(integrated - THRESHOLD)
    return {"V": integrated - THRESHOLD * spikes, "s": spikes}, spikes @ params["readout"]


def _current(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    current = SYNAPSE * states["I"] + matmul(x, params["W"])
    v = DECAY * v - THRESHOLD * triangular_spike(v - THRESHOLD) + current
    return {"I": current, "V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]


def _current_vjp(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    current = SYNAPSE * states["I"] + matmul(x, params["W"])
    integrated = DECAY * v + (1 - DECAY) * current
    spikes = fast_sigmoid_spike(integrated - THRESHOLD)
    return {"I": current, "V": integrated * (1 - spikes), "s": spikes}, spikes @ params["readout"]


def _current_recurrent(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    spikes = triangular_spike(v - THRESHOLD)
    current = SYNAPSE * states["I"] + matmul(x, params["W"]) + matmul(spikes, params["U"])
    v = DECAY * v - THRESHOLD * spikes + current
    return {"I": current, "V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]


def _eprop(params: Any, states: Any, x: Any) -> Any:
    v = states["V"]
    spikes = triangular_spike(v - THRESHOLD)
    drive = matmul(x, params["W"]) + matmul(jax.lax.stop_gradient(spikes), params["U"])
    v = DECAY * v - THRESHOLD * spikes + drive
    return {"V": v}, triangular_spike(v - THRESHOLD) @ params["readout"]


class CurrentLIF(ZooModule):
    """A recurrent layer with exponential-current synapses; current and voltage are one group of states."""

    W: ParamState
    U: ParamState
    readout: ParamState

    def hold(self, states: Any, buffers: tuple[str, ...]) -> None:
        """Hold the two states together."""
        self.neuron = HiddenGroupState(states)

    @property
    def spikes(self) -> Any:
        """What the layer sends out, from its states as they are now."""
        return triangular_spike(self.neuron["V"] - THRESHOLD)

    def update(self, x: Any) -> Any:
        """The readout of the new spikes."""
        spikes = self.spikes
        current = SYNAPSE * self.neuron["I"] + matmul(x, self.W.value) + matmul(spikes, self.U.value)
        self.neuron["V"] = DECAY * self.neuron["V"] - THRESHOLD * spikes + current
        self.neuron["I"] = current
        return self.spikes @ self.readout.value


def _spiking(
    name: str, about: str, step: Any, shapes: Any, states: tuple[str, ...], module: Any = None, **labels: str
) -> ZooCase:
    return ZooCase(
        module=module,
        name=name,
        about=about,
        step=step,
        shapes=shapes,
        initial=at_rest(*states),
        labels=labelled(**labels),
        spikes=(lambda after: after["s"] > 0) if "s" in states else _above_threshold,
        smooth=False,
        offset=0.3,
        gain=1.5,
    )


CASES = (
    _spiking(
        "lif_delta", "delta synapses, surrogate by custom_jvp", _delta, _feedforward_shapes, ("V",), exact="W readout"
    ),
    _spiking(
        "lif_delta_vjp",
        "delta synapses, surrogate by custom_vjp",
        _delta_vjp,
        _feedforward_shapes,
        ("V",),
        exact="W readout",
    ),
    _spiking(
        "lif_recurrent",
        "delta synapses, one weight for [x, spikes]",
        _delta_joint,
        _joint_shapes,
        ("V",),
        approximate="W",
        exact="readout",
    ),
    _spiking(
        "lif_spike_state",
        "delta synapses, reset within the step, the spikes a state of their own that recurs (custom_vjp)",
        _delta_spike_state,
        _recurrent_shapes,
        ("V", "s"),
        approximate="W U",
        exact="readout",
    ),
    _spiking(
        "lif_current",
        "exponential-current synapses: the current reaches the voltage within the step",
        _current,
        _feedforward_shapes,
        ("I", "V"),
        exact="W readout",
    ),
    _spiking(
        "lif_current_vjp",
        "exponential-current synapses, reset to zero within the step, spikes written and never read (custom_vjp)",
        _current_vjp,
        _feedforward_shapes,
        ("I", "V", "s"),
        exact="W readout",
    ),
    _spiking(
        "lif_current_recurrent",
        "exponential-current synapses with dense recurrence",
        _current_recurrent,
        _recurrent_shapes,
        ("I", "V"),
        CurrentLIF,
        approximate="W U",
        exact="readout",
    ),
    _spiking(
        "lif_eprop",
        "dense recurrence whose spikes are stop-gradiented (Bellec et al. 2020): D-RTRL of it is e-prop, and exact",
        _eprop,
        _recurrent_shapes,
        ("V",),
        exact="W U readout",
    ),
)
