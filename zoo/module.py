"""Zoo models as native modules: parameters and states are attributes, under the names of the plain function."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.module import Module
from ..frontend.state import HiddenState, ParamState, ShortTermState, State


class ZooModule(Module):
    """A module that holds drawn parameters, each a `ParamState`, and states, each of the kind that its type wants."""

    def __init__(self, params: Any, states: Any, buffers: tuple[str, ...] = ()) -> None:
        for name, value in params.items():
            setattr(self, name, ParamState(value))
        self.hold(states, buffers)

    def hold(self, states: Any, buffers: tuple[str, ...]) -> None:
        """Make a state of each array; a model whose states belong together overrides this."""
        for name, state in _made(states, buffers).items():
            setattr(self, name, state)


class StepModule(Module):
    """A plain step function behind the face of a module: reads every state, runs the step, writes every state."""

    def __init__(self, step: Any, params: Any, states: Any, buffers: tuple[str, ...] = ()) -> None:
        params, states = jax.tree.map(ParamState, params), _made(states, buffers)
        for name, part in _merged(params, states).items():
            setattr(self, name, part)
        self.bound = _Bound(step, params, states)

    def update(self, *inputs: Any) -> Any:
        """The step's outputs."""
        return self.bound.run(*inputs)


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """A step with the states that it runs on. No container, so that states are found under their own paths alone."""

    step: Callable[..., Any]
    params: Any
    states: Any

    def run(self, *inputs: Any) -> Any:
        new, outputs = self.step(_values(self.params), _values(self.states), *inputs)
        jax.tree.map(_write, self.states, new, is_leaf=_is_state)
        return outputs


def _made(states: Any, buffers: tuple[str, ...]) -> Any:
    def kind(name: str) -> Any:
        return ShortTermState if any(fnmatch.fnmatchcase(name, glob) for glob in buffers) else _state

    return {name: jax.tree.map(kind(name), value) for name, value in states.items()}


def _state(value: jax.Array) -> State:
    return HiddenState(value) if jnp.issubdtype(value.dtype, jnp.inexact) else State(value)


def _merged(left: Any, right: Any) -> Any:
    """One tree from two whose containers may overlap, as those of the parameters and the states of a layer do."""
    if isinstance(left, list):
        return [_merged(*pair) for pair in zip(left, right, strict=True)]
    both = left.keys() & right.keys()
    return {**left, **right, **{key: _merged(left[key], right[key]) for key in both}}


def _is_state(node: Any) -> bool:
    return isinstance(node, State)


def _values(tree: Any) -> Any:
    return jax.tree.map(lambda state: state.value, tree, is_leaf=_is_state)


def _write(state: State, value: Any) -> None:
    state.value = value
