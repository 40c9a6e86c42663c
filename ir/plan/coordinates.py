"""Arrays as vectors of real coordinates: where exact influence lives. A complex number is two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..types import TensorType


class RealCoordinates:
    """Arrays of given types as one vector of real numbers, and back: array after array, real parts first."""

    def __init__(self, types: Sequence[TensorType]) -> None:
        """Prepare for arrays of these types."""
        self.types = tuple(types)
        self.sizes = [kind.size * (2 if kind.is_complex else 1) for kind in self.types]
        self.size = sum(self.sizes)

    @property
    def dtype(self) -> Any:
        """The element type that holds every coordinate."""
        return jnp.result_type(*(jnp.finfo(kind.dtype).dtype for kind in self.types))

    def flatten(self, arrays: Sequence[jax.Array]) -> jax.Array:
        """The vector of arrays of these types, leading axes kept: `[..., size]`."""
        return jnp.concatenate([_reals(x, kind) for x, kind in zip(arrays, self.types, strict=True)], axis=-1)

    def unflatten(self, vector: jax.Array) -> list[jax.Array]:
        """The arrays of a vector `[..., size]`, leading axes kept."""
        found: list[jax.Array] = []
        start = 0
        for kind, size in zip(self.types, self.sizes, strict=True):
            part = vector[..., start : start + size]
            start += size
            if kind.is_complex:
                half = part.shape[-1] // 2
                part = jax.lax.complex(part[..., :half], part[..., half:])
            found.append(part.reshape(*vector.shape[:-1], *kind.shape).astype(kind.dtype))
        return found


def _reals(array: jax.Array, kind: TensorType) -> jax.Array:
    lead = array.shape[: array.ndim - len(kind.shape)]
    flat = array.reshape(*lead, math.prod(kind.shape))
    return jnp.concatenate([flat.real, flat.imag], axis=-1) if kind.is_complex else flat
