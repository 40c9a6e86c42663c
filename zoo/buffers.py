"""States that move along by a place each step: caches of keys and values, and a delay line. Products are plain `@`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import softmax

from .attention import projections
from .case import Sizes, ZooCase, layer
from .draw import Shape, labelled

WINDOW, LEAK = 3, 0.7


def _appended(cache: Any, new: Any) -> Any:
    return jnp.concatenate([cache[..., 1:, :], new[..., None, :]], axis=-2)


def _rolled(cache: Any, new: Any) -> Any:
    return jnp.roll(cache, -1, axis=-2).at[..., -1, :].set(new)


def _cached(put: Any) -> Any:
    """Return the step of attention over the last `WINDOW` inputs, which `put` writes into the caches."""

    def step(params: Any, states: Any, x: Any) -> Any:
        q, k, v = (x @ params[name] for name in ("Wq", "Wk", "Wv"))
        K, V, count = put(states["K"], k), put(states["V"], v), states["count"] + 1
        scores = jnp.einsum("...k,...wk->...w", q, K) / jnp.sqrt(q.shape[-1])
        filled = jnp.arange(WINDOW) >= WINDOW - count
        weights = softmax(jnp.where(filled, scores, jnp.finfo(scores.dtype).min))
        y = jnp.einsum("...w,...wv->...v", weights, V)
        return {"K": K, "V": V, "count": count}, y @ params["Wo"]

    return step


def _ring(params: Any, states: Any, x: Any) -> Any:
    """The cache written in a circle: nothing moves, and the oldest place is written over."""
    q, k, v = (x @ params[name] for name in ("Wq", "Wk", "Wv"))
    count = states["count"]
    K, V = (states[name].at[..., count % WINDOW, :].set(new) for name, new in (("K", k), ("V", v)))
    scores = jnp.einsum("...k,...wk->...w", q, K) / jnp.sqrt(q.shape[-1])
    weights = softmax(jnp.where(jnp.arange(WINDOW) <= count, scores, jnp.finfo(scores.dtype).min))
    y = jnp.einsum("...w,...wv->...v", weights, V)
    return {"K": K, "V": V, "count": count + 1}, y @ params["Wo"]


def _cache_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    K, V = (jnp.zeros((*batch, WINDOW, size), dtype) for size in (sizes.hidden // 2, sizes.hidden))
    return {"K": K, "V": V, "count": jnp.zeros((), jnp.int32)}


def _shift_register(params: Any, states: Any, x: Any) -> Any:
    drive = jnp.tanh(x @ params["W"] + params["b"])
    line = jnp.concatenate([drive[..., None, :], states["line"][..., :-1, :]], axis=-2)
    h = LEAK * states["h"] + states["line"][..., -1, :]
    return {"line": line, "h": h}, h @ params["readout"]


def _register_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "b": (n,), "readout": (n, o)}


def _register_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    n = sizes.hidden
    return {"line": jnp.zeros((*batch, WINDOW, n), dtype), "h": jnp.zeros((*batch, n), dtype)}


def _cache(name: str, about: str, step: Any) -> ZooCase:
    return layer(
        name=name,
        about=about,
        step=step,
        shapes=projections,
        initial=_cache_rest,
        labels=labelled(exact="Wq Wk Wv Wo"),
    )


CASES = (
    _cache("kv_cache", "softmax attention over the last keys and values, shifted by concatenation", _cached(_appended)),
    _cache("kv_cache_roll", "the same, shifted by a roll and a write", _cached(_rolled)),
    _cache("kv_ring", "the same, written in a circle", _ring),
    layer(
        name="shift_register",
        about="a delay line from a product to a leaky integrator",
        step=_shift_register,
        shapes=_register_shapes,
        initial=_register_rest,
        labels=labelled(exact="W b readout"),
    ),
)
