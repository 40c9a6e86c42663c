"""Random numbers from a key that is a state, so that each call under a transform draws new ones.

`DEFAULT` is the key that the functions here draw from. State-aware transforms carry it like any other state, and `vmap`
gives each sample a key of its own. It is a plain state: it carries no credit.
"""

from __future__ import annotations

from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .cell import Cell
from .state import State


class KeyState(State):
    """The state of a random number generator: the numbers of a JAX key, as an array of integers."""

    varies: ClassVar[bool] = True

    def __init__(self, seed: int = 0, *, name: str | None = None) -> None:
        super().__init__(lambda: _numbers(seed), name=name)

    def seed(self, seed: int) -> None:
        """Start again from `seed`."""
        self.value = _numbers(seed)

    def split(self, count: int | None = None) -> jax.Array:
        """A new key, or an array of `count` new keys; the state moves on."""
        keys = jax.random.split(jax.random.wrap_key_data(self.value), 2 if count is None else 1 + count)
        self.value = jax.random.key_data(keys[0])
        return keys[1] if count is None else keys[1:]

    def per_sample(self, value: Any, index: jax.Array) -> tuple[Any, Any]:
        """The key that goes on after vmap, and the one of sample `index` inside it."""
        kept, shared = jax.random.split(jax.random.wrap_key_data(value))
        return jax.random.key_data(kept), jax.random.key_data(jax.random.fold_in(shared, index))


class _LateKey(KeyState):
    """A key that is made when it is first needed, so that importing the package starts no device."""

    def __init__(self, seed: int, *, name: str) -> None:
        State.__init__(self, name=name)
        self._first = seed
        self.loc = None

    def outside(self) -> Cell:
        if not self.base.is_set:
            with jax.ensure_compile_time_eval():
                self.base = Cell(value=_numbers(self._first))
        return self.base


def _numbers(seed: int) -> jax.Array:
    return jax.random.key_data(jax.random.key(seed))


DEFAULT = _LateKey(0, name="random.key")
"""The key that the functions of this module draw from."""


def seed(seed: int) -> None:
    """Start `DEFAULT` again from `seed`."""
    DEFAULT.seed(seed)


def split_key(count: int | None = None) -> jax.Array:
    """A new key from `DEFAULT`, or an array of `count` new keys."""
    return DEFAULT.split(count)


def rand(*shape: int, dtype: Any = float, key: jax.Array | None = None) -> jax.Array:
    """Numbers drawn evenly from [0, 1), of the given shape."""
    return jax.random.uniform(_or_new(key), shape, dtype)


def randn(*shape: int, dtype: Any = float, key: jax.Array | None = None) -> jax.Array:
    """Numbers drawn from the standard normal distribution, of the given shape."""
    return jax.random.normal(_or_new(key), shape, dtype)


def uniform(
    low: Any = 0.0, high: Any = 1.0, shape: tuple[int, ...] = (), *, dtype: Any = float, key: jax.Array | None = None
) -> jax.Array:
    """Numbers drawn evenly from [low, high)."""
    return jax.random.uniform(_or_new(key), shape, dtype, low, high)


def normal(
    mean: Any = 0.0, scale: Any = 1.0, shape: tuple[int, ...] = (), *, dtype: Any = float, key: jax.Array | None = None
) -> jax.Array:
    """Numbers drawn from the normal distribution with this mean and standard deviation."""
    return mean + scale * jax.random.normal(_or_new(key), shape, dtype)


def randint(
    low: Any, high: Any, shape: tuple[int, ...] = (), *, dtype: Any = int, key: jax.Array | None = None
) -> jax.Array:
    """Integers drawn evenly from low, ..., high - 1."""
    return jax.random.randint(_or_new(key), shape, low, high, dtype)


def bernoulli(p: Any = 0.5, shape: tuple[int, ...] | None = None, *, key: jax.Array | None = None) -> jax.Array:
    """Booleans that are true with probability `p`; of the shape of `p` where none is given."""
    return jax.random.bernoulli(_or_new(key), p, shape)


def permutation(x: Any, *, key: jax.Array | None = None) -> jax.Array:
    """`x` in a random order along its first axis, or 0, ..., x - 1 where `x` is an integer."""
    return jax.random.permutation(_or_new(key), jnp.asarray(x) if not isinstance(x, int) else x)


def _or_new(key: jax.Array | None) -> jax.Array:
    return DEFAULT.split() if key is None else key
