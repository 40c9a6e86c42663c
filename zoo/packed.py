"""Several states of a neuron in one array: adaptive LIF as spyx and braintools keep it. Products are plain `@`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..frontend.nn.surrogate import triangular_spike
from .adaptive import ADAPTATION, DECAY, SLOW, THRESHOLD
from .case import Sizes, ZooCase, layer
from .draw import Shape, labelled


def _spikes(v: Any, a: Any) -> Any:
    return triangular_spike(v - THRESHOLD - ADAPTATION * a)


def _unpacked(states: Any) -> Any:
    return jnp.split(states["va"], 2, axis=-1)


def _unstacked(states: Any) -> Any:
    return states["va"][..., 0], states["va"][..., 1]


def _packed(v: Any, a: Any) -> Any:
    return jnp.concatenate([v, a], axis=-1)


def _stacked(v: Any, a: Any) -> Any:
    return jnp.stack([v, a], axis=-1)


def _alif(apart: Any, together: Any) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        v, a = apart(states)
        spikes = _spikes(v, a)
        v = DECAY * v - THRESHOLD * spikes + x @ params["W"] + params["b"]
        a = SLOW * a + spikes
        return {"va": together(v, a)}, _spikes(v, a) @ params["readout"]

    return step


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "b": (n,), "readout": (n, o)}


def _case(name: str, about: str, apart: Any, together: Any) -> ZooCase:
    def rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
        zeros = jnp.zeros((*batch, sizes.hidden), dtype)
        return {"va": together(zeros, zeros)}

    return layer(
        name=name,
        about=about,
        step=_alif(apart, together),
        shapes=_shapes,
        initial=rest,
        labels=labelled(exact="W b readout"),
        spikes=lambda states: _spikes(*apart(states)) > 0,
        smooth=False,
        offset=0.3,
        gain=1.5,
    )


CASES = (
    _case("alif_packed", "adaptive LIF whose voltage and adaptation are one array, end to end", _unpacked, _packed),
    _case("alif_stacked", "adaptive LIF whose voltage and adaptation lie on a last axis", _unstacked, _stacked),
)
