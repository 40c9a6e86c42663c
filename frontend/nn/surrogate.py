"""Spike functions with surrogate gradients, one by `custom_jvp` and one by `custom_vjp`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_jvp
def triangular_spike(v: Any) -> Any:
    """Return 1 where `v > 0`, else 0; the derivative is a triangle of height 0.5 and half-width 1 (`custom_jvp`)."""
    return (v > 0).astype(v.dtype)


@triangular_spike.defjvp
def _triangular_jvp(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    (v,), (dv,) = primals, tangents
    return triangular_spike(v), dv * 0.5 * jnp.maximum(1 - jnp.abs(v), 0)


@jax.custom_vjp
def fast_sigmoid_spike(v: Any) -> Any:
    """Return 1 where `v > 0`, else 0; the derivative is 0.5 / (1 + 2 |v|)^2 (`custom_vjp`; Zenke and Ganguli 2018)."""
    return (v > 0).astype(v.dtype)


def _fast_sigmoid_forward(v: Any) -> tuple[Any, Any]:
    return fast_sigmoid_spike(v), v


def _fast_sigmoid_backward(v: Any, cotangent: Any) -> tuple[Any]:
    return (cotangent * 0.5 / (1 + 2 * jnp.abs(v)) ** 2,)


fast_sigmoid_spike.defvjp(_fast_sigmoid_forward, _fast_sigmoid_backward)
