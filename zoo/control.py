"""Weights inside control flow: in the branches of a `cond`, and in a loop of sub-steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir.weight_operations import matmul, scale
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

SUBSTEPS = 4


def _branches(params: Any, states: Any, x: Any) -> Any:
    """Two leaky integrators that take turns on one state."""
    h = jax.lax.cond(
        states["count"] % 2 == 0,
        lambda h: 0.5 * h + jnp.tanh(matmul(x, params["W"])),
        lambda h: jnp.sin(scale(h, params["a"]) + matmul(x, params["V"])),
        states["h"],
    )
    return {"h": h, "count": states["count"] + 1}, h @ params["readout"]


def _substeps(params: Any, states: Any, x: Any) -> Any:
    """A differential equation, some Euler steps to each input."""

    def euler(_: Any, h: Any) -> Any:
        return h + 0.2 * (jnp.tanh(matmul(x, params["W"]) + scale(h, params["a"])) - h)

    h = jax.lax.fori_loop(0, SUBSTEPS, euler, states["h"])
    return {"h": h}, h @ params["readout"]


def _two(*names: str) -> Any:
    def shapes(sizes: Sizes) -> dict[str, Shape]:
        i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
        return dict.fromkeys(names, (i, n)) | {"a": (n,), "readout": (n, o)}

    return shapes


def _at_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, sizes.hidden), dtype), "count": jnp.zeros((), jnp.int32)}


CASES = (
    ZooCase(
        name="cond_branches",
        about="weights in each branch of a cond",
        step=_branches,
        shapes=_two("W", "V"),
        initial=_at_rest,
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
)
