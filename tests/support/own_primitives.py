"""Primitives of a user's own, made with the public interface of JAX alone."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def own_primitive(name: str, function: Callable[..., Any], tangent: Callable[..., Any] | None = None) -> Primitive:
    """A primitive of one operand that computes `function`; `tangent(t, x)` is its derivative rule, if it has one."""
    own = Primitive(name)
    own.def_impl(function)
    own.def_abstract_eval(lambda x: x)
    mlir.register_lowering(own, mlir.lower_fun(function, multiple_results=False))
    batching.primitive_batchers[own] = lambda args, axes: (own.bind(*args), axes[0])
    if tangent is not None:
        ad.primitive_jvps[own] = lambda xs, ts: (own.bind(*xs), tangent(ts[0], xs[0]))
    return own


def self_transposed(name: str, function: Callable[..., Any]) -> Primitive:
    """A linear primitive whose transpose is itself, as that of a symmetric matrix is."""
    own = own_primitive(name, function)
    ad.deflinear2(own, lambda cotangent, _: [own.bind(cotangent)])
    return own


heaviside = own_primitive(
    "heaviside_surrogate_gradient",
    lambda v: (v > 0).astype(v.dtype),
    lambda t, v: t / (1 + jnp.abs(v)) ** 2,
)
"""A spike whose surrogate is a rule of a primitive's, as braintools and brainpy have it."""
