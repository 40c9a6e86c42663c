"""minLSTM and minGRU (Feng et al. 2024), with plain products and biases: gates see the input alone."""

from __future__ import annotations

from typing import Any

from jax.nn import sigmoid

from .case import Sizes, layer
from .draw import Shape, at_rest, labelled


def _min_gru(params: Any, states: Any, x: Any) -> Any:
    z, candidate = (x @ params["W" + name] + params["b" + name] for name in "zh")
    h = (1 - sigmoid(z)) * states["h"] + sigmoid(z) * candidate
    return {"h": h}, h @ params["readout"]


def _min_lstm(params: Any, states: Any, x: Any) -> Any:
    f, i, candidate = (x @ params["W" + name] + params["b" + name] for name in "fih")
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * states["h"] + i / (f + i) * candidate
    return {"h": h}, h @ params["readout"]


def _shapes(gates: str) -> Any:
    def shapes(sizes: Sizes) -> dict[str, Shape]:
        i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
        return {f"W{g}": (i, n) for g in gates} | {f"b{g}": (n,) for g in gates} | {"readout": (n, o)}

    return shapes


CASES = (
    layer(
        name="min_gru_plain",
        about="minGRU in plain jax.numpy",
        step=_min_gru,
        shapes=_shapes("zh"),
        initial=at_rest("h"),
        labels=labelled(exact="Wz bz Wh bh readout"),
    ),
    layer(
        name="min_lstm",
        about="minLSTM: a forget and an input gate that are normalised to sum to one",
        step=_min_lstm,
        shapes=_shapes("fih"),
        initial=at_rest("h"),
        labels=labelled(exact="Wf bf Wi bi Wh bh readout"),
    ),
)
