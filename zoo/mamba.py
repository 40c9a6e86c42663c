"""Selective state spaces: Mamba's S6 and block, Mamba-2's SSD. Products are plain `@` and einsum."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
from jax.nn import silu, softplus

from .case import Sizes, layer
from .draw import Shape, labelled

HEADS, RANK, KERNEL = 2, 2, 3


def _selective(params: Any, h: Any, x: Any, delta: Any, B: Any, C: Any) -> Any:
    """One step of a selective state space, and what it reads: a state of features by `N`."""
    A = -jnp.exp(params["A_log"])
    h = jnp.exp(delta[..., None] * A) * h + (delta * x)[..., None] * B[..., None, :]
    return h, jnp.einsum("...dn,...n->...d", h, C) + params["D"] * x


def _mamba(params: Any, states: Any, x: Any) -> Any:
    delta = softplus(params["bd"] + x @ params["Wd"])
    h, y = _selective(params, states["h"], x, delta, x @ params["WB"], x @ params["WC"])
    return {"h": h}, y @ params["Wo"]


def _mamba_low_rank(params: Any, states: Any, x: Any) -> Any:
    delta, B, C = jnp.split(x @ params["Wx"], (RANK, RANK + params["A_log"].shape[-1]), axis=-1)
    delta = softplus(delta @ params["Wd"] + params["bd"])
    h, y = _selective(params, states["h"], x, delta, B, C)
    return {"h": h}, y @ params["Wo"]


def _mamba_block(params: Any, states: Any, x: Any) -> Any:
    x, z = jnp.split(x @ params["W_in"], 2, axis=-1)
    line, x = convolved(params["conv"], states["line"], x)
    new, y = _mamba_low_rank(params | {"Wo": jnp.eye(x.shape[-1], dtype=x.dtype)}, states, silu(x + params["bc"]))
    return new | {"line": line}, (y * silu(z)) @ params["Wo"]


def convolved(kernel: Any, line: Any, x: Any) -> tuple[Any, Any]:
    """Return the line of past inputs and the causal depth-wise convolution: `line` holds all taps but the last."""
    taps = jnp.concatenate([line, x[..., None, :]], axis=-2)
    return taps[..., 1:, :], jnp.sum(taps * kernel, axis=-2)


def _mamba_shapes(sizes: Sizes) -> dict[str, Shape]:
    d, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"A_log": (d, n), "D": (d,), "WB": (d, n), "WC": (d, n), "Wd": (d, 1), "bd": (d,), "Wo": (d, o)}


def _low_rank(inner: int, sizes: Sizes) -> dict[str, Shape]:
    n, o = sizes.hidden, sizes.outputs
    return {"A_log": (inner, n), "D": (inner,), "Wx": (inner, RANK + 2 * n), "Wd": (RANK, inner), "bd": (inner,),
            "Wo": (inner, o)}  # fmt: skip


def _block_shapes(sizes: Sizes) -> dict[str, Shape]:
    inner = 2 * sizes.inputs
    convolution = {"conv": (KERNEL, inner), "bc": (inner,)}
    return _low_rank(inner, sizes) | convolution | {"W_in": (sizes.inputs, 2 * inner)}


def _mamba_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, sizes.inputs, sizes.hidden), dtype)}


def _block_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    inner = 2 * sizes.inputs
    return {
        "h": jnp.zeros((*batch, inner, sizes.hidden), dtype),
        "line": jnp.zeros((*batch, KERNEL - 1, inner), dtype),
    }


def _ssd(params: Any, before: Any, parts: Iterable[Any]) -> Any:
    """Mamba-2's recurrence and gated readout: heads of values by `N`, a scalar decay a head."""
    x, B, C, dt, z = parts
    dt = softplus(dt + params["dt_bias"])
    x = x.reshape(*x.shape[:-1], HEADS, -1)
    decay = jnp.exp(-jnp.exp(params["A_log"]) * dt)
    S = decay[..., None, None] * before + jnp.einsum("...h,...hp,...n->...hpn", dt, x, B)
    y = jnp.einsum("...hpn,...n->...hp", S, C) + params["D"][:, None] * x
    gated = y.reshape(z.shape) * silu(z)
    norm = gated / jnp.sqrt(jnp.mean(gated**2, -1, keepdims=True) + 1e-6)
    return S, (norm * params["scale"]) @ params["Wo"]


def _mamba2(params: Any, states: Any, u: Any) -> Any:
    S, y = _ssd(params, states["S"], (u @ params[name] for name in ("Wx", "WB", "WC", "Wdt", "Wz")))
    return {"S": S}, y


def _mamba2_fused(params: Any, states: Any, u: Any) -> Any:
    n, state = params["scale"].shape[0], states["S"].shape[-1]
    cuts = (n, n + state, n + 2 * state, n + 2 * state + HEADS)
    S, y = _ssd(params, states["S"], jnp.split(u @ params["W_in"], cuts, axis=-1))
    return {"S": S}, y


def _mamba2_conv(params: Any, states: Any, u: Any) -> Any:
    new, parts = {}, []
    for name in ("x", "B", "C"):
        new[name], part = convolved(params["conv_" + name], states[name], u @ params["W" + name])
        parts.append(silu(part))
    S, y = _ssd(params, states["S"], (*parts, u @ params["Wdt"], u @ params["Wz"]))
    return new | {"S": S}, y


def _ssd_shapes(sizes: Sizes) -> dict[str, Shape]:
    n, o = sizes.hidden, sizes.outputs
    return {"A_log": (HEADS,), "D": (HEADS,), "dt_bias": (HEADS,), "scale": (n,), "Wo": (n, o)}


def _widths(sizes: Sizes) -> dict[str, int]:
    return {"x": sizes.hidden, "B": sizes.hidden - 1, "C": sizes.hidden - 1}


def _mamba2_shapes(sizes: Sizes) -> dict[str, Shape]:
    i = sizes.inputs
    projections = {f"W{name}": (i, width) for name, width in _widths(sizes).items()}
    return _ssd_shapes(sizes) | projections | {"Wdt": (i, HEADS), "Wz": (i, sizes.hidden)}


def _mamba2_fused_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _ssd_shapes(sizes) | {"W_in": (sizes.inputs, sum(_widths(sizes).values()) + HEADS + sizes.hidden)}


def _mamba2_conv_shapes(sizes: Sizes) -> dict[str, Shape]:
    return _mamba2_shapes(sizes) | {f"conv_{name}": (KERNEL, width) for name, width in _widths(sizes).items()}


def _mamba2_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"S": jnp.zeros((*batch, HEADS, sizes.hidden // HEADS, sizes.hidden - 1), dtype)}


def _mamba2_conv_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    lines = {name: jnp.zeros((*batch, KERNEL - 1, width), dtype) for name, width in _widths(sizes).items()}
    return _mamba2_rest(sizes, batch, dtype) | lines


CASES = (
    layer(
        name="mamba",
        about="S6 (Gu and Dao 2023): diagonal A, the step size a scalar of the input that is broadcast, B and C of it",
        step=_mamba,
        shapes=_mamba_shapes,
        initial=_mamba_rest,
        labels=labelled(exact="A_log D WB WC Wd bd Wo"),
    ),
    layer(
        name="mamba_low_rank",
        about="the same as its authors' code has it: one product for B, C and the low rank of the step sizes",
        step=_mamba_low_rank,
        shapes=lambda sizes: _low_rank(sizes.inputs, sizes),
        initial=_mamba_rest,
        labels=labelled(exact="A_log D Wd bd Wo"),
    ),
    layer(
        name="mamba_block",
        about="the whole block: an input product, a causal convolution, S6, and a gate",
        step=_mamba_block,
        shapes=_block_shapes,
        initial=_block_rest,
        labels=labelled(exact="A_log D Wd bd Wo"),
    ),
    layer(
        name="mamba2",
        about="Mamba-2 (Dao and Gu 2024): heads, a scalar decay each, B and C shared by them",
        step=_mamba2,
        shapes=_mamba2_shapes,
        initial=_mamba2_rest,
        labels=labelled(exact="A_log D dt_bias scale Wx WB WC Wdt Wz Wo"),
    ),
    layer(
        name="mamba2_fused",
        about="the same with one product for every projection",
        step=_mamba2_fused,
        shapes=_mamba2_fused_shapes,
        initial=_mamba2_rest,
        labels=labelled(exact="A_log D dt_bias scale Wo"),
    ),
    layer(
        name="mamba2_conv",
        about="the same with its causal convolutions, whose taps are states",
        step=_mamba2_conv,
        shapes=_mamba2_conv_shapes,
        initial=_mamba2_conv_rest,
        labels=labelled(approximate="Wx WB", exact="A_log D dt_bias scale WC Wdt Wz Wo conv_x conv_B conv_C"),
    ),
)
