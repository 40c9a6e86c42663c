"""Gated recurrent units: reset before and after the recurrent product, gates apart and fused."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid

from ..frontend.module import Module
from ..frontend.state import HiddenState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import at_rest, labelled
from .module import ZooModule


def _separate_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    gates = {f"W{gate}": (i, n) for gate in "zrh"} | {f"U{gate}": (n, n) for gate in "zrh"}
    return gates | {f"b{gate}": (n,) for gate in "zrh"} | {"readout": (n, o)}


def _gate(params: Any, gate: str, x: Any, h: Any) -> Any:
    return matmul(x, params[f"W{gate}"], params[f"b{gate}"]) + matmul(h, params[f"U{gate}"])


def _reset_before(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    z, r = sigmoid(_gate(params, "z", x, h)), sigmoid(_gate(params, "r", x, h))
    h = z * h + (1 - z) * jnp.tanh(_gate(params, "h", x, r * h))
    return {"h": h}, h @ params["readout"]


def _reset_after(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    z, r = sigmoid(_gate(params, "z", x, h)), sigmoid(_gate(params, "r", x, h))
    candidate = jnp.tanh(matmul(x, params["Wh"]) + r * matmul(h, params["Uh"], params["bh"]))
    h = z * h + (1 - z) * candidate
    return {"h": h}, h @ params["readout"]


def _reset_before_fused(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    z, r = jnp.split(sigmoid(matmul(jnp.concatenate([x, h], -1), params["Wzr"], params["bzr"])), 2, axis=-1)
    candidate = jnp.tanh(matmul(jnp.concatenate([x, r * h], -1), params["Wh"], params["bh"]))
    h = z * h + (1 - z) * candidate
    return {"h": h}, h @ params["readout"]


def _reset_before_fused_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"Wzr": (i + n, 2 * n), "bzr": (2 * n,), "Wh": (i + n, n), "bh": (n,), "readout": (n, o)}


def _reset_after_fused(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    xz, xr, xh = jnp.split(matmul(x, params["W"], params["b"]), 3, axis=-1)
    hz, hr, hh = jnp.split(matmul(h, params["U"]), 3, axis=-1)
    z, r = sigmoid(xz + hz), sigmoid(xr + hr)
    h = z * h + (1 - z) * jnp.tanh(xh + r * hh)
    return {"h": h}, h @ params["readout"]


def _reset_after_fused_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, 3 * n), "U": (n, 3 * n), "b": (3 * n,), "readout": (n, o)}


class Gate(Module):
    """One affine map of the input and the state, `x W + b + h U`."""

    def __init__(self, W: Any, U: Any, b: Any) -> None:
        self.W, self.U, self.b = ParamState(W), ParamState(U), ParamState(b)

    def update(self, x: Any, h: Any) -> Any:
        """The gate before its nonlinearity."""
        return matmul(x, self.W.value, self.b.value) + matmul(h, self.U.value)


class GruResetBefore(Module):
    """The reset-before unit built from three sub-modules: its weights are called `z.W`, `r.U` and so on."""

    def __init__(self, params: Any, states: Any, buffers: tuple[str, ...] = ()) -> None:
        self.z, self.r, self.candidate = (Gate(*(params[f"{kind}{gate}"] for kind in "WUb")) for gate in "zrh")
        self.readout = ParamState(params["readout"])
        self.h = HiddenState(states["h"])

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        h = self.h.value
        z, r = sigmoid(self.z(x, h)), sigmoid(self.r(x, h))
        self.h.value = z * h + (1 - z) * jnp.tanh(self.candidate(x, r * h))
        return self.h.value @ self.readout.value


class GruResetAfterFused(ZooModule):
    """The fused reset-after unit as a module."""

    W: ParamState
    U: ParamState
    b: ParamState
    readout: ParamState
    h: HiddenState

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        h = self.h.value
        xz, xr, xh = jnp.split(matmul(x, self.W.value, self.b.value), 3, axis=-1)
        hz, hr, hh = jnp.split(matmul(h, self.U.value), 3, axis=-1)
        z = sigmoid(xz + hz)
        self.h.value = z * h + (1 - z) * jnp.tanh(xh + sigmoid(xr + hr) * hh)
        return self.h.value @ self.readout.value


CASES = (
    ZooCase(
        name="gru_reset_before",
        about="reset gate before the recurrent product: its weights reach the state only through `Uh`",
        step=_reset_before,
        module=GruResetBefore,
        shapes=_separate_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="Wz Uz bz Wh Uh bh", truncated="Wr Ur br", exact="readout"),
    ),
    ZooCase(
        name="gru_reset_after",
        about="reset gate after the recurrent product: every weight reaches the state position by position",
        step=_reset_after,
        shapes=_separate_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="Wz Uz bz Wr Ur br Wh Uh bh", exact="readout"),
    ),
    ZooCase(
        name="gru_reset_before_fused",
        about="update and reset gates in one product of [x, h]: half of its outputs reach the state directly",
        step=_reset_before_fused,
        shapes=_reset_before_fused_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="Wh bh", approximate_or_truncated="Wzr bzr", exact="readout"),
    ),
    ZooCase(
        name="gru_reset_after_fused",
        about="three gates in one input product and one recurrent product, then split",
        step=_reset_after_fused,
        module=GruResetAfterFused,
        shapes=_reset_after_fused_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W U b", exact="readout"),
    ),
)
