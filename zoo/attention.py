"""Attention as a recurrence: linear attention, and gated linear attention. Products are plain `@` and einsum."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import elu, sigmoid, standardize, swish

from .case import Sizes, layer
from .draw import Shape, labelled

RANK, TEMPERATURE = 2, 16


def matrix_at_rest(sizes: Sizes, batch: Shape, dtype: Any) -> Any:
    """Return a zero state of keys by values, half as many keys as values."""
    return jnp.zeros((*batch, sizes.hidden // 2, sizes.hidden), dtype)


def projections(sizes: Sizes) -> dict[str, Shape]:
    """Return the shapes of the projections to queries, keys, values and outputs."""
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"Wq": (i, n // 2), "Wk": (i, n // 2), "Wv": (i, n), "Wo": (n, o)}


def _linear_attention(params: Any, states: Any, x: Any) -> Any:
    q, k = (elu(x @ params[name]) + 1 for name in ("Wq", "Wk"))
    v = x @ params["Wv"]
    S = states["S"] + jnp.einsum("...k,...v->...kv", k, v)
    z = states["z"] + k
    y = jnp.einsum("...k,...kv->...v", q, S) / jnp.sum(q * z, -1, keepdims=True)
    return {"S": S, "z": z}, y @ params["Wo"]


def _normalised_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    S = matrix_at_rest(sizes, batch, dtype)
    return {"S": S, "z": jnp.zeros(S.shape[:-1], dtype)}


def _gla_with(gate: Any, params: Any, states: Any, x: Any) -> Any:
    q, k, v = (x @ params[name] for name in ("Wq", "Wk", "Wv"))
    alpha = sigmoid(gate) ** (1 / TEMPERATURE)
    S = alpha[..., :, None] * states["S"] + k[..., :, None] * v[..., None, :]
    y = standardize(jnp.einsum("...k,...kv->...v", q, S))
    return {"S": S}, (swish(x @ params["Wr"] + params["br"]) * y) @ params["Wo"]


def _gla(params: Any, states: Any, x: Any) -> Any:
    return _gla_with(x @ params["Wa"] + params["ba"], params, states, x)


def _gla_low_rank(params: Any, states: Any, x: Any) -> Any:
    return _gla_with(x @ params["Wa1"] @ params["Wa2"] + params["ba"], params, states, x)


def _gla_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n = sizes.inputs, sizes.hidden
    return projections(sizes) | {"Wa": (i, n // 2), "ba": (n // 2,), "Wr": (i, n), "br": (n,)}


def _low_rank_shapes(sizes: Sizes) -> dict[str, Shape]:
    dense = _gla_shapes(sizes)
    i, keys = dense.pop("Wa")
    return dense | {"Wa1": (i, RANK), "Wa2": (RANK, keys)}


def _matrix_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"S": matrix_at_rest(sizes, batch, dtype)}


CASES = (
    layer(
        name="linear_attention",
        about="linear attention (Katharopoulos et al. 2020): a sum of outer products, and its normaliser",
        step=_linear_attention,
        shapes=projections,
        initial=_normalised_rest,
        labels=labelled(exact="Wq Wk Wv Wo"),
    ),
    layer(
        name="gla",
        about="gated linear attention (Yang et al. 2023): a decay for each key, from a dense gate",
        step=_gla,
        shapes=_gla_shapes,
        initial=_matrix_rest,
        labels=labelled(exact="Wq Wk Wv Wo Wa ba Wr br"),
    ),
    layer(
        name="gla_low_rank",
        about="the same with the paper's gate of low rank: its first factor reaches the state through the second alone",
        step=_gla_low_rank,
        shapes=_low_rank_shapes,
        initial=_matrix_rest,
        labels=labelled(exact="Wq Wk Wv Wo Wa2 ba Wr br"),
    ),
)
