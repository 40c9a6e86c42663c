"""Weights that are functions of parameters: the prologue makes every transform exact."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

LEAK = 0.7


def checkerboard(shape: Shape) -> np.ndarray:
    """Return a mask of ones and zeros of this shape, neighbours differing."""
    return np.indices(shape).sum(0) % 2 == 0


def _transposed(params: Any) -> Any:
    return params["w"].T


def _masked(params: Any) -> Any:
    return checkerboard(params["w"].shape) * params["w"]


def _squashed(params: Any) -> Any:
    return jnp.tanh(params["w"])


def _summed(params: Any) -> Any:
    return params["w1"] + params["w2"]


def _doubled(params: Any) -> Any:
    return 2 * params["w"]


def _leaky(transform: Any) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        h = LEAK * states["h"] + jnp.tanh(matmul(x, transform(params)))
        return {"h": h}, h @ params["readout"]

    return step


def _every_transform(params: Any, states: Any, x: Any) -> Any:
    """A dense network whose every weight is transformed, the recurrent one twice."""
    drive = matmul(x, params["w"].T) + matmul(states["h"], checkerboard(params["u"].shape) * jnp.tanh(params["u"]))
    h = LEAK * states["h"] + (1 - LEAK) * jnp.tanh(drive + matmul(x, params["w1"] + 2 * params["w2"]))
    return {"h": h}, h @ jnp.tanh(params["readout"])


def _every_transform_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"w": (n, i), "u": (n, n), "w1": (i, n), "w2": (i, n), "readout": (n, o)}


def _shapes(*names: str, transposed: bool = False) -> Any:
    def shapes(sizes: Sizes) -> dict[str, Shape]:
        i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
        return dict.fromkeys(names, (n, i) if transposed else (i, n)) | {"readout": (n, o)}

    return shapes


def _case(name: str, formula: str, transform: Any, shapes: Any, exact: str) -> ZooCase:
    return ZooCase(
        name=name,
        about=f"leaky integrator driven through the weight {formula}",
        step=_leaky(transform),
        shapes=shapes,
        initial=at_rest("h"),
        labels=labelled(exact=exact),
    )


CASES = (
    _case("weight_transposed", "w.T", _transposed, _shapes("w", transposed=True), "w readout"),
    _case("weight_masked", "mask * w", _masked, _shapes("w"), "w readout"),
    _case("weight_tanh", "tanh(w)", _squashed, _shapes("w"), "w readout"),
    _case("weight_sum", "w1 + w2", _summed, _shapes("w1", "w2"), "w1 w2 readout"),
    _case("weight_doubled", "2 * w", _doubled, _shapes("w"), "w readout"),
    ZooCase(
        name="weight_all_transforms",
        about="dense leaky network with every weight transformed",
        step=_every_transform,
        shapes=_every_transform_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="w u w1 w2", exact="readout"),
    ),
)
