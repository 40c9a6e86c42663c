"""RWKV's time mixing: versions 4 (a running softmax) and 6 (a matrix state). Products are plain `@`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid, silu, standardize

from .case import Sizes, layer
from .draw import Shape, at_rest, labelled

HEADS, RANK, TOKENS = 2, 2, 3
NOTHING = -1e38
"""The exponent that a running softmax over no key has."""


def mixed(params: Any, name: str, x: Any, before: Any) -> Any:
    """Return the token shift: each feature drawn from this input and the one before it by its own share."""
    share = params["mu_" + name]
    return x * share + before * (1 - share)


def _weighted(states: Any, shift: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
    """The running softmax with its exponents moved by `shift` and one more key: numerator, denominator, exponent."""
    aged = states["p"] + shift
    p = jnp.maximum(aged, key)
    old, new = jnp.exp(aged - p), jnp.exp(key - p)
    return old * states["a"] + new * value, old * states["b"] + new, p


def _rwkv4_recurrence(params: Any, states: Any, k: Any, v: Any) -> Any:
    a, b, _ = _weighted(states, 0.0, params["u"] + k, v)
    new = dict(zip("abp", _weighted(states, -jnp.exp(params["w"]), k, v), strict=True))
    return new, a / b


def _rwkv4(params: Any, states: Any, x: Any) -> Any:
    k, v, r = (mixed(params, name, x, states["x"]) @ params["W" + name] for name in "kvr")
    new, wkv = _rwkv4_recurrence(params, {name: states[name] for name in "abp"}, k, v)
    return new | {"x": x}, (sigmoid(r) * wkv) @ params["Wo"]


def _rwkv4_chunk(params: Any, states: Any, xs: Any) -> Any:
    """Several tokens a step: projections of all at once, then a scan over them."""
    tokens = jnp.moveaxis(xs, -2, 0)
    before = jnp.concatenate([states["x"][None], tokens[:-1]])
    k, v, r = (mixed(params, name, tokens, before) @ params["W" + name] for name in "kvr")
    start = {name: states[name] for name in "abp"}
    new, wkv = jax.lax.scan(lambda state, kv: _rwkv4_recurrence(params, state, *kv), start, (k, v))
    return new | {"x": tokens[-1]}, jnp.moveaxis((sigmoid(r) * wkv) @ params["Wo"], 0, -2)


def _rwkv4_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    mixing = {f"mu_{name}": (i,) for name in "kvr"} | {f"W{name}": (i, n) for name in "kvr"}
    return mixing | {"u": (n,), "w": (n,), "Wo": (n, o)}


def _rwkv4_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    zeros = at_rest("a", "b", "p")(sizes, batch, dtype)
    return zeros | {"p": zeros["p"] + NOTHING, "x": jnp.zeros((*batch, sizes.inputs), dtype)}


def _heads(y: Any) -> Any:
    return y.reshape(*y.shape[:-1], HEADS, -1)


def _rwkv6_with(x_of: Any, params: Any, states: Any, x: Any) -> Any:
    r, k, v, g = (x_of(name) @ params["W" + name] for name in "rkvg")
    w = jnp.exp(-jnp.exp(params["w"] + jnp.tanh(x_of("w") @ params["w1"]) @ params["w2"]))
    r, k, v, w, u = (_heads(each) for each in (r, k, v, w, params["u"]))
    kv = k[..., :, None] * v[..., None, :]
    y = standardize(jnp.einsum("...hk,...hkv->...hv", r, states["S"] + u[..., :, None] * kv))
    S = w[..., :, None] * states["S"] + kv
    return {"S": S, "x": x}, (silu(g) * y.reshape(g.shape)) @ params["Wo"]


def _rwkv6(params: Any, states: Any, x: Any) -> Any:
    return _rwkv6_with(lambda name: mixed(params, name, x, states["x"]), params, states, x)


def _rwkv6_shift(params: Any, states: Any, x: Any) -> Any:
    """The token shift whose shares depend on the data themselves."""
    change = states["x"] - x
    first = x + change * params["mu_x"]

    def of(name: str) -> Any:
        share = params["mu_" + name] + jnp.tanh(first @ params["A" + name]) @ params["B" + name]
        return x + change * share

    return _rwkv6_with(of, params, states, x)


def _rwkv6_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    mixing = {f"mu_{name}": (i,) for name in "rkvgw"} | {f"W{name}": (i, n) for name in "rkvg"}
    return mixing | {"w": (n,), "w1": (i, RANK), "w2": (RANK, n), "u": (n,), "Wo": (n, o)}


def _rwkv6_shift_shapes(sizes: Sizes) -> dict[str, Shape]:
    i = sizes.inputs
    low = {f"A{name}": (i, RANK) for name in "rkvgw"} | {f"B{name}": (RANK, i) for name in "rkvgw"}
    return _rwkv6_shapes(sizes) | low | {"mu_x": (i,)}


def _rwkv6_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    size = sizes.hidden // HEADS
    return {"S": jnp.zeros((*batch, HEADS, size, size), dtype), "x": jnp.zeros((*batch, sizes.inputs), dtype)}


CASES = (
    layer(
        name="rwkv4",
        about="RWKV-4 time mixing (Peng et al. 2023): token shift, and a running softmax in log space",
        step=_rwkv4,
        shapes=_rwkv4_shapes,
        initial=_rwkv4_rest,
        labels=labelled(exact="mu_k mu_v mu_r Wk Wv Wr u w Wo"),
    ),
    layer(
        name="rwkv4_chunk",
        about="the same over several tokens a step: projected at once, then scanned",
        step=_rwkv4_chunk,
        shapes=_rwkv4_shapes,
        initial=_rwkv4_rest,
        input_shapes=lambda sizes: ((TOKENS, sizes.inputs),),
        labels=labelled(exact="mu_r Wr Wo"),
    ),
    layer(
        name="rwkv6",
        about="RWKV-6 time mixing (Peng et al. 2024) by heads: a matrix state, whose decay depends on the data",
        step=_rwkv6,
        shapes=_rwkv6_shapes,
        initial=_rwkv6_rest,
        labels=labelled(exact="mu_r mu_k mu_v mu_g Wr Wk Wv Wg w w2 u Wo"),
    ),
    layer(
        name="rwkv6_shift",
        about="the same with the token shift that depends on the data",
        step=_rwkv6_shift,
        shapes=_rwkv6_shift_shapes,
        initial=_rwkv6_rest,
        labels=labelled(exact="mu_r mu_k mu_v mu_g Wr Wk Wv Wg w w2 u Wo Ar Br Ag Bg"),
    ),
)
