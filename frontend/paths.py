"""The paths of states that a function uses: those of its module, or names that are free."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .module import Module
from .state import State


def states_within(model: Callable[..., Any]) -> dict[str, State]:
    """The states of the module that `model` is, or wraps (as `transform.vmap` does), by path."""
    inner = inspect.unwrap(model)
    return inner.states() if isinstance(inner, Module) else {}


def free_path(state: State, taken: Mapping[str, State]) -> str:
    """A path for a state that is closed over: its name, numbered where another has it."""
    name = state.name or type(state).__name__
    return next(path for path in (name, *(f"{name}.{i}" for i in range(2, len(taken) + 3))) if path not in taken)
