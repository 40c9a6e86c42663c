"""Arrays as vectors of real coordinates: where every derivative of this backend lives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from ...ir.types import TensorType


@dataclass(frozen=True)
class Space:
    """Arrays of some types as one real vector: array after array, row-major; of a complex array real parts first."""

    types: tuple[TensorType, ...]

    @property
    def size(self) -> int:
        """How many coordinates."""
        return len(self.positions)

    @property
    def dtype(self) -> jnp.dtype:
        """The element type that holds every coordinate."""
        return jnp.result_type(*(jnp.finfo(kind.dtype).dtype for kind in self.types))

    @property
    def positions(self) -> np.ndarray:
        """For each coordinate the position, in its own array, that it belongs to."""
        copies = [np.tile(np.arange(kind.size), 2 if kind.is_complex else 1) for kind in self.types]
        return np.concatenate(copies)

    def join(self, arrays: Sequence[jax.Array]) -> jax.Array:
        """The vector of some arrays."""
        return jnp.concatenate([_reals(x, kind) for x, kind in zip(arrays, self.types, strict=True)]).astype(self.dtype)

    def split(self, vector: jax.Array) -> list[jax.Array]:
        """The arrays of a vector."""
        widths = [kind.size * (2 if kind.is_complex else 1) for kind in self.types]
        parts = jnp.split(vector.astype(self.dtype), np.cumsum(widths)[:-1])
        return [_array(part, kind) for part, kind in zip(parts, self.types, strict=True)]

    def join_cotangents(self, arrays: Sequence[jax.Array]) -> jax.Array:
        """The gradient by the coordinates, from JAX's cotangents: `c` of a complex `z` stands for `dl = Re(c dz)`."""
        return self.join([jnp.conj(x) for x in arrays])

    def split_cotangents(self, vector: jax.Array) -> list[jax.Array]:
        """JAX's cotangents, from a gradient by the coordinates."""
        return [jnp.conj(x) for x in self.split(vector)]


def _reals(array: jax.Array, kind: TensorType) -> jax.Array:
    flat = jnp.asarray(array, kind.dtype).ravel()
    return jnp.concatenate([flat.real, flat.imag]) if kind.is_complex else flat


def _array(vector: jax.Array, kind: TensorType) -> jax.Array:
    if kind.is_complex:
        real, imaginary = jnp.split(vector, 2)
        vector = jax.lax.complex(real, imaginary)
    return vector.reshape(kind.shape).astype(kind.dtype)
