"""What layers with hidden states have in common: states that take their shapes from the first input, along any axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .. import random
from ..module import Module
from ..state import HiddenState, ParamState
from . import faults

Step = tuple[tuple[jax.Array, ...], jax.Array]
"""The new states, in the order in which they were made, and the output."""


class Recurrent(Module):
    """A layer with hidden states of its own; a call is one step, `[..., in_size, ...] -> [..., out, ...]` along `dim`.

    The states begin unset, and take their shape from the first input: a state with one axis of its own has the shape of
    the input, with that axis in the place of `dim`; one with several has them last. All other axes are a batch. So a
    layer takes any batch, images included; `nn.zero_states` before another one. A subclass makes its states with
    `hidden`, and defines `step(x, *states)`, where `x` and the states have their own axes last.
    """

    def __init__(self, in_size: int, dim: int = -1) -> None:
        self.in_size, self.dim = in_size, dim
        self._own: list[tuple[str, tuple[int, ...]]] = []

    def hidden(self, name: str, *shape: int, start: float = 0.0, complex: bool = False) -> None:
        """Make the hidden state `name`, of this shape for each sample, which begins with `start` everywhere."""
        self._own.append((name, shape))
        setattr(self, name, HiddenState(lazy=partial(self._first, shape, start, complex)))

    def _first(self, shape: tuple[int, ...], start: float, complex: bool, x: Any) -> jax.Array:
        return jnp.full(self._shape(shape, x), start, self._dtype(x.dtype, complex))

    def _shape(self, own: tuple[int, ...], x: Any) -> tuple[int, ...]:
        at = self.dim % len(x.shape)
        before, after = x.shape[:at], x.shape[at + 1 :]
        return (*before, *own, *after) if len(own) == 1 else (*before, *after, *own)

    def _dtype(self, of_input: Any, complex: bool) -> Any:
        weights = [jax.tree.leaves(w.value)[0].dtype for w in self.states(ParamState).values()]
        return jnp.result_type(of_input, *(weights or [float]), *([jnp.complex64] if complex else []))

    def update(self, x: jax.Array) -> jax.Array:
        """The output for one step, its features along `dim`.

        Raises EtirError where `x` has another number of them, or another batch than the states.
        """
        if not hasattr(x, "ndim") or not -x.ndim <= self.dim < x.ndim or x.shape[self.dim] != self.in_size:
            raise faults.layer_input(self, x)
        states = [self._held(getattr(self, name), own, x) for name, own in self._own]
        axes = [self.dim if len(own) == 1 else -1 for _, own in self._own]
        before = [jnp.moveaxis(state, axis, -1) for state, axis in zip(states, axes, strict=True)]
        after, y = self.step(jnp.moveaxis(x, self.dim, -1), *before)
        for (name, _), axis, state in zip(self._own, axes, after, strict=True):
            getattr(self, name).value = jnp.moveaxis(state, -1, axis)
        return jnp.moveaxis(y, -1, self.dim)

    def _held(self, state: HiddenState, own: tuple[int, ...], x: jax.Array) -> jax.Array:
        value = state.ensure(x)
        if value.shape != self._shape(own, x):
            raise faults.layer_state(self, state, x)
        return value

    def step(self, x: jax.Array, *states: jax.Array) -> Step:
        """The new states and the output, for `x` of shape [..., in_size]."""
        raise NotImplementedError


def drawn(*shape: int) -> ParamState:
    """A weight of this shape, from a normal distribution of variance one over its fan-in."""
    return ParamState(random.randn(*shape) / math.sqrt(shape[-2]))


def filled(*shape: int, value: float = 0.0) -> ParamState:
    """A weight of this shape, the same number everywhere."""
    return ParamState(jnp.full(shape, value))


def values(module: Module, names: Sequence[str]) -> list[jax.Array]:
    """The values of some weights of a module."""
    return [getattr(module, name).value for name in names]
