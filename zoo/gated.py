"""Smaller gated networks: MGU, minimal RNN, minGRU."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid

from ..frontend.state import HiddenState, ParamState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import at_rest, labelled
from .module import ZooModule


def _mgu(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    f = sigmoid(matmul(x, params["Wf"], params["bf"]) + matmul(h, params["Uf"]))
    candidate = jnp.tanh(matmul(x, params["Wh"], params["bh"]) + matmul(f * h, params["Uh"]))
    h = (1 - f) * h + f * candidate
    return {"h": h}, h @ params["readout"]


def _mgu_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    weights = {"Wf": (i, n), "Uf": (n, n), "bf": (n,), "Wh": (i, n), "Uh": (n, n), "bh": (n,)}
    return weights | {"readout": (n, o)}


def _minimal_rnn(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    z = jnp.tanh(matmul(x, params["W"], params["c"]))
    u = sigmoid(matmul(h, params["U"]) + matmul(z, params["V"], params["b"]))
    h = u * h + (1 - u) * z
    return {"h": h}, h @ params["readout"]


def _minimal_rnn_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "c": (n,), "U": (n, n), "V": (n, n), "b": (n,), "readout": (n, o)}


def _min_gru(params: Any, states: Any, x: Any) -> Any:
    z = sigmoid(matmul(x, params["Wz"], params["bz"]))
    h = (1 - z) * states["h"] + z * matmul(x, params["Wh"], params["bh"])
    return {"h": h}, h @ params["readout"]


def _min_gru_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"Wz": (i, n), "bz": (n,), "Wh": (i, n), "bh": (n,), "readout": (n, o)}


class MinGRU(ZooModule):
    """minGRU as a module."""

    Wz: ParamState
    bz: ParamState
    Wh: ParamState
    bh: ParamState
    readout: ParamState
    h: HiddenState

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        z = sigmoid(matmul(x, self.Wz.value, self.bz.value))
        self.h.value = (1 - z) * self.h.value + z * matmul(x, self.Wh.value, self.bh.value)
        return self.h.value @ self.readout.value


class MGU(ZooModule):
    """The minimal gated unit as a module."""

    Wf: ParamState
    Uf: ParamState
    bf: ParamState
    Wh: ParamState
    Uh: ParamState
    bh: ParamState
    readout: ParamState
    h: HiddenState

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        h = self.h.value
        f = sigmoid(matmul(x, self.Wf.value, self.bf.value) + matmul(h, self.Uf.value))
        candidate = jnp.tanh(matmul(x, self.Wh.value, self.bh.value) + matmul(f * h, self.Uh.value))
        self.h.value = (1 - f) * h + f * candidate
        return self.h.value @ self.readout.value


CASES = (
    ZooCase(
        name="mgu",
        about="minimal gated unit (Zhou et al. 2016): the one gate reaches the state directly and through `Uh`",
        step=_mgu,
        module=MGU,
        shapes=_mgu_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="Wf Uf bf Wh Uh bh", exact="readout"),
    ),
    ZooCase(
        name="minimal_rnn",
        about="MinimalRNN (Chen 2017): a feed-forward latent, mixed in by one gate that sees it through `V`",
        step=_minimal_rnn,
        shapes=_minimal_rnn_shapes,
        initial=at_rest("h"),
        labels=labelled(approximate="W c U V b", exact="readout"),
    ),
    ZooCase(
        name="min_gru",
        about="minGRU (Feng et al. 2024): gate and candidate see the input alone, so D-RTRL is exact",
        step=_min_gru,
        module=MinGRU,
        shapes=_min_gru_shapes,
        initial=at_rest("h"),
        labels=labelled(exact="Wz bz Wh bh readout"),
    ),
)
