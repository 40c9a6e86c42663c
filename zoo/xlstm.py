"""xLSTM (Beck et al. 2024): exponential gates that a running maximum stabilises. Products are plain `@` and einsum."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid

from ..frontend.nn.state_space import stabilised
from .case import Sizes, layer
from .draw import Shape, at_rest, labelled

HEADS = 2
GATES = "zifo"


def _mlstm(params: Any, states: Any, x: Any) -> Any:
    q, k, v = (_heads(x @ params[name]) for name in ("Wq", "Wk", "Wv"))
    k = k / jnp.sqrt(k.shape[-1])
    i, f, m = stabilised(states["m"], *(x @ params["W" + name] + params["b" + name] for name in "if"))
    C = f[..., None, None] * states["C"] + i[..., None, None] * (v[..., :, None] * k[..., None, :])
    n = f[..., None] * states["n"] + i[..., None] * k
    norm = jnp.maximum(jnp.abs(jnp.sum(n * q, -1)), jnp.exp(-m))
    h = jnp.einsum("...hvk,...hk->...hv", C, q) / norm[..., None]
    o = sigmoid(x @ params["Wo"] + params["bo"])
    return {"C": C, "n": n, "m": m}, (o * h.reshape(o.shape)) @ params["readout"]


def _heads(y: Any) -> Any:
    return y.reshape(*y.shape[:-1], HEADS, -1)


def _mlstm_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    heads = {"Wi": (i, HEADS), "bi": (HEADS,), "Wf": (i, HEADS), "bf": (HEADS,)}
    return dict.fromkeys(("Wq", "Wk", "Wv", "Wo"), (i, n)) | heads | {"bo": (n,), "readout": (n, o)}


def _mlstm_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    size = sizes.hidden // HEADS
    shapes = {"C": (HEADS, size, size), "n": (HEADS, size), "m": (HEADS,)}
    return {name: jnp.zeros((*batch, *shape), dtype) for name, shape in shapes.items()}


def _slstm_with(logits: Any, params: Any, states: Any) -> Any:
    z, i, f, o = logits
    i, f, m = stabilised(states["m"], i, f)
    c = f * states["c"] + i * jnp.tanh(z)
    n = f * states["n"] + i
    h = sigmoid(o) * c / n
    return {"c": c, "n": n, "m": m, "h": h}, h @ params["readout"]


def _slstm(params: Any, states: Any, x: Any) -> Any:
    recurrent = (states["h"] @ params["R" + gate] for gate in GATES)
    return _slstm_with([d + r for d, r in zip(_driven(params, x), recurrent, strict=True)], params, states)


def _slstm_heads(params: Any, states: Any, x: Any) -> Any:
    h = _heads(states["h"])
    recurrent = (jnp.einsum("...hi,hij->...hj", h, params["R" + gate]).reshape(states["h"].shape) for gate in GATES)
    return _slstm_with([d + r for d, r in zip(_driven(params, x), recurrent, strict=True)], params, states)


def _slstm_feedforward(params: Any, states: Any, x: Any) -> Any:
    new, y = _slstm_with(_driven(params, x), params, states)
    return {name: new[name] for name in "cnm"}, y


def _driven(params: Any, x: Any) -> list[Any]:
    return [x @ params["W" + gate] + params["b" + gate] for gate in GATES]


def _driven_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {f"W{g}": (i, n) for g in GATES} | {f"b{g}": (n,) for g in GATES} | {"readout": (n, o)}


def _slstm_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _driven_shapes(sizes) | {f"R{gate}": (sizes.hidden, sizes.hidden) for gate in GATES}


def _slstm_heads_shapes(sizes: Sizes) -> dict[str, Shape]:
    size = sizes.hidden // HEADS
    return _driven_shapes(sizes) | {f"R{gate}": (HEADS, size, size) for gate in GATES}


def _slstm_rest(*names: str) -> Any:
    """The normaliser starts at one: from zero, a bias of the input gate would scale it and the cell alike."""

    def rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
        zeros = at_rest(*names)(sizes, batch, dtype)
        return zeros | {"n": zeros["n"] + 1}

    return rest


RECURRENT = "Wz Wi Wf Wo bz bi bf bo Rz Ri Rf Ro"

CASES = (
    layer(
        name="mlstm",
        about="mLSTM by heads: a matrix memory, its normaliser and its stabiliser, gates from the input alone",
        step=_mlstm,
        shapes=_mlstm_shapes,
        initial=_mlstm_rest,
        labels=labelled(exact="Wq Wk Wv Wi bi Wf bf Wo bo readout"),
    ),
    layer(
        name="slstm",
        about="sLSTM with dense recurrence",
        step=_slstm,
        shapes=_slstm_shapes,
        initial=_slstm_rest("c", "n", "m", "h"),
        labels=labelled(approximate=RECURRENT, exact="readout"),
    ),
    layer(
        name="slstm_heads",
        about="sLSTM by heads: its recurrence stays inside each",
        step=_slstm_heads,
        shapes=_slstm_heads_shapes,
        initial=_slstm_rest("c", "n", "m", "h"),
        labels=labelled(approximate_or_exact=RECURRENT, exact="readout"),
    ),
    layer(
        name="slstm_feedforward",
        about="sLSTM whose gates see the input alone",
        step=_slstm_feedforward,
        shapes=_driven_shapes,
        initial=_slstm_rest("c", "n", "m"),
        labels=labelled(exact="Wz Wi Wf Wo bz bi bf bo readout"),
    ),
)
