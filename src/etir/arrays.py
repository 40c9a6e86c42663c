"""Arrays to try a model with: random ones of any length, noise where numbers are special, more precision."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .ir.step import leaf_paths

_NOISE = 0.1


def draw(key: jax.Array, steps: int, example: Any) -> Any:
    """Random arrays with a leading time axis for every leaf of `example`: normal, or zeros and ones for integers."""
    leaves, tree = jax.tree.flatten(example)
    keys = jax.random.split(key, max(1, len(leaves)))
    return tree.unflatten([_draw(k, (steps, *leaf.shape), leaf.dtype) for k, leaf in zip(keys, leaves, strict=False)])


def _draw(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    if jnp.issubdtype(dtype, jnp.inexact):
        return jax.random.normal(key, shape, dtype)
    return jax.random.bernoulli(key, 0.5, shape).astype(dtype)


def with_noise(key: jax.Array, params: Any) -> tuple[Any, list[str]]:
    """Parameters with noise added to those that are one number throughout, zeros say, and the paths of these.

    At such a special point gradients may agree, or vanish, by accident. Integers and booleans stay.
    """
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(key, max(1, len(leaves)))
    constant = [_is_constant(leaf) for leaf in leaves]
    noisy = [
        leaf + _NOISE * jax.random.normal(k, jnp.shape(leaf), jnp.result_type(leaf)) if on else leaf
        for k, leaf, on in zip(keys, leaves, constant, strict=False)
    ]
    paths = [path for path, _ in leaf_paths(params, "param")]
    return tree.unflatten(noisy), [path for path, on in zip(paths, constant, strict=True) if on]


def _is_constant(leaf: Any) -> bool:
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) or not jnp.size(leaf):
        return False
    flat = jnp.ravel(leaf)
    return bool(jnp.all(flat == flat[0]))


def widened(tree: Any) -> Any:
    """The tree with every real leaf as float64 and every complex one as complex128; others stay."""
    return jax.tree.map(_widen, tree)


def _widen(leaf: Any) -> Any:
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.asarray(leaf).dtype
    if not jnp.issubdtype(dtype, jnp.inexact):
        return leaf
    wide = jnp.complex128 if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.float64
    return jax.ShapeDtypeStruct(leaf.shape, wide) if isinstance(leaf, jax.ShapeDtypeStruct) else jnp.asarray(leaf, wide)
