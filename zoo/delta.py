"""The delta rule as a recurrence: a memory that is corrected where a key reads it. Products are plain `@`, einsum."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import sigmoid, silu

from .attention import projections
from .case import Sizes, layer
from .draw import Shape, labelled


def _unit(y: Any) -> Any:
    return y / jnp.sqrt(jnp.sum(y**2, -1, keepdims=True) + 1e-6)


def _delta_with(alpha: Any, params: Any, states: Any, x: Any) -> Any:
    q, k = (_unit(silu(x @ params[name])) for name in ("Wq", "Wk"))
    v, beta = silu(x @ params["Wv"]), sigmoid(x @ params["Wb"])
    kept = alpha * states["S"]
    S = kept + jnp.einsum("...v,...k->...vk", beta * (v - jnp.einsum("...vk,...k->...v", kept, k)), k)
    return {"S": S}, jnp.einsum("...vk,...k->...v", S, q) @ params["Wo"]


def _delta_net(params: Any, states: Any, x: Any) -> Any:
    return _delta_with(1.0, params, states, x)


def _gated_delta_net(params: Any, states: Any, x: Any) -> Any:
    return _delta_with(sigmoid(x @ params["Wa"] + params["ba"])[..., None], params, states, x)


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    return projections(sizes) | {"Wb": (sizes.inputs, 1)}


def _gated_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _shapes(sizes) | {"Wa": (sizes.inputs, 1), "ba": (1,)}


def _rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"S": jnp.zeros((*batch, sizes.hidden, sizes.hidden // 2), dtype)}


CASES = (
    layer(
        name="delta_net",
        about="DeltaNet (Schlag et al. 2021, Yang et al. 2024): the state times I - beta k k', plus beta v k'",
        step=_delta_net,
        shapes=_shapes,
        initial=_rest,
        labels=labelled(exact="Wq Wo"),
    ),
    layer(
        name="gated_delta_net",
        about="the same with a decay (Yang et al. 2025)",
        step=_gated_delta_net,
        shapes=_gated_shapes,
        initial=_rest,
        labels=labelled(exact="Wq Wo"),
    ),
)
