"""Weights inside control flow: in the branches of a `cond`, in a loop of sub-steps, stacked over scanned layers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir.weight_operations import matmul, scale
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

SUBSTEPS, DEPTH = 4, 3


def _branches(params: Any, states: Any, x: Any) -> Any:
    """One of two leaky integrators, by the sign of an input."""
    h = jax.lax.cond(
        jnp.sum(x) > 0,
        lambda h: 0.5 * h + jnp.tanh(matmul(x, params["W"])),
        lambda h: jnp.sin(scale(h, params["a"]) + matmul(x, params["V"])),
        states["h"],
    )
    return {"h": h}, h @ params["readout"]


def _substeps(params: Any, states: Any, x: Any) -> Any:
    """A differential equation, some Euler steps to each input."""

    def euler(_: Any, h: Any) -> Any:
        return h + 0.2 * (jnp.tanh(matmul(x, params["W"]) + scale(h, params["a"])) - h)

    h = jax.lax.fori_loop(0, SUBSTEPS, euler, states["h"])
    return {"h": h}, h @ params["readout"]


def _layers(params: Any, states: Any, x: Any) -> Any:
    """Leaky layers upon each other, a scan over their stacked weights; the first takes the inputs as they are."""

    def layer(below: Any, of: Any) -> Any:
        w, a, h = of
        h = scale(h, a) + jnp.tanh(matmul(below, w))
        return h, h

    first = jnp.pad(x, [*[(0, 0)] * (x.ndim - 1), (0, states["h"].shape[-1] - x.shape[-1])])
    stack = jnp.moveaxis(states["h"], -2, 0)
    top, new = jax.lax.scan(layer, first, (params["W"], params["a"], stack))
    return {"h": jnp.moveaxis(new, 0, -2)}, top @ params["readout"]


def _two(*names: str) -> Any:
    def shapes(sizes: Sizes) -> dict[str, Shape]:
        i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
        return dict.fromkeys(names, (i, n)) | {"a": (n,), "readout": (n, o)}

    return shapes


def _stacked(sizes: Sizes) -> dict[str, Shape]:
    n, o = sizes.hidden, sizes.outputs
    return {"W": (DEPTH, n, n), "a": (DEPTH, n), "readout": (n, o)}


def _stack_at_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, DEPTH, sizes.hidden), dtype)}


CASES = (
    ZooCase(
        name="cond_branches",
        about="weights in each branch of a cond",
        step=_branches,
        shapes=_two("W", "V"),
        initial=at_rest("h"),
        labels=labelled(exact="W V a readout"),
    ),
    ZooCase(
        name="loop_substeps",
        about="weights in a loop of Euler steps",
        step=_substeps,
        shapes=_two("W"),
        initial=at_rest("h"),
        labels=labelled(exact="W a readout"),
    ),
    ZooCase(
        name="scanned_layers",
        about="dense layers with leaky states, scanned over stacked weights",
        step=_layers,
        shapes=_stacked,
        initial=_stack_at_rest,
        labels=labelled(approximate="W a", exact="readout"),
    ),
)
