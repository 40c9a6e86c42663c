"""Layers whose weights are used by other operations than products: convolutions of images, look-ups of tokens."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.nn.surrogate import triangular_spike
from .case import Sizes, ZooCase
from .draw import Shape, labelled

DECAY, THRESHOLD, FEATURES, SIDE = 0.9, 1.0, 2, 4


def _convolved(x: Any, w: Any, stride: int, groups: int) -> Any:
    """A plain convolution, of one image or of a batch."""
    images = x.reshape(-1, *x.shape[-3:])
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(
        images, w, (stride, stride), "SAME", dimension_numbers=layout, feature_group_count=groups
    )
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _pooled(x: Any) -> Any:
    """Means of two by two pixels."""
    window = (*(1 for _ in x.shape[:-3]), 2, 2, 1)
    return jax.lax.reduce_window(x, 0.0, jax.lax.add, window, window, "VALID") / 4


def _spiking(stride: int, groups: int) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        v = states["V"]
        current = _convolved(x, params["K"], stride, groups) + params["b"]
        v = DECAY * v - THRESHOLD * triangular_spike(v - THRESHOLD) + current
        shown = _pooled(triangular_spike(v - THRESHOLD))
        return {"V": v}, shown.reshape(*shown.shape[:-3], -1) @ params["readout"]

    return step


def _leaky_tokens(params: Any, states: Any, x: Any) -> Any:
    h = DECAY * states["h"] + jnp.tanh(params["table"][jnp.argmax(x, -1)])
    return {"h": h}, h @ params["readout"]


def _image(sizes: Sizes) -> tuple[Shape, ...]:
    return ((SIDE, SIDE, FEATURES),)


def _spiking_case(name: str, about: str, stride: int, groups: int) -> ZooCase:
    side = SIDE // stride

    def shapes(sizes: Sizes) -> dict[str, Shape]:
        kernel, new = (3, 3, FEATURES // groups, sizes.hidden), sizes.hidden
        return {"K": kernel, "b": (new,), "readout": (new * (side // 2) ** 2, sizes.outputs)}

    def rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
        return {"V": jnp.zeros((*batch, side, side, sizes.hidden), dtype)}

    return ZooCase(
        name=name,
        about=about,
        step=_spiking(stride, groups),
        shapes=shapes,
        initial=rest,
        labels=labelled(exact="K b readout"),
        input_shapes=_image,
        spikes=lambda states: states["V"] > THRESHOLD,
        smooth=False,
        sites="auto",
        sizes=Sizes(hidden=FEATURES),
        offset=0.2,
    )


CASES = (
    _spiking_case("lif_conv", "a spiking convolution, its spikes pooled", 1, 1),
    _spiking_case("lif_depthwise", "a spiking depthwise convolution of stride two, its spikes pooled", 2, FEATURES),
    ZooCase(
        name="leaky_tokens",
        about="a leaky state that is fed by rows of a table, the token the largest of the inputs",
        step=_leaky_tokens,
        shapes=lambda sizes: {"table": (sizes.inputs, sizes.hidden), "readout": (sizes.hidden, sizes.outputs)},
        initial=lambda sizes, batch, dtype: {"h": jnp.zeros((*batch, sizes.hidden), dtype)},
        labels=labelled(exact="table readout"),
        smooth=False,
        sites="auto",
        sizes=Sizes(inputs=5, hidden=6),
    ),
)
