"""A module taken apart into its structure and the values of its states, and put together again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .. import errors, frame
from ..cell import Cell
from ..filters import Filter, split_states
from ..module import Module
from ..state import State

Values = dict[str, Any]


class Structure:
    """A module without values: what `split` gives, and `merge` fills. It is no pytree: close over it."""

    def __init__(self, model: Module) -> None:
        states = model.states()
        self._tags = {path: frame.read(state).tags for path, state in states.items()}
        self._unset = frozenset(path for path, state in states.items() if not frame.read(state).is_set)
        self._blank = _copied(model, {})

    def filled(self, values: Mapping[str, Any]) -> Any:
        """A module of this structure, its states holding these values."""
        wanted = [path for path in self._tags if path not in self._unset]
        missing = [path for path in wanted if path not in values]
        unexpected = [path for path in values if path not in self._tags]
        if missing or unexpected:
            raise errors.wrong_paths("merge", missing, unexpected, list(self._tags))
        return _copied(self._blank, {path: Cell(value=x, tags=self._tags[path]) for path, x in values.items()})

    def __repr__(self) -> str:
        return f"Structure({type(self._blank).__name__})"


def split(model: Module, *filters: Filter) -> tuple[Any, ...]:
    """The structure of a module, and a dict of its states' values by path for each filter, one for all by default.

    The dicts are pytrees: hand them to `jax.jit`, `jax.grad`, `jax.vmap` and to what saves files. Unset states are left
    out. EtirError where a state matches no filter: give `...` as the last one to take the rest.
    """
    if not isinstance(model, Module):
        raise errors.not_a_module("split", model)
    groups = split_states(model, *(filters or (...,)))
    values = [{path: frame.read(s).copied().value for path, s in group.items() if s.is_set} for group in groups]
    return (Structure(model), *values)


def merge(structure: Structure, *values: Mapping[str, Any]) -> Any:
    """A new module of a structure with these values, which `split` gave; it shares no state with the one it was.

    Inside a function that JAX transforms it may be called and written freely, and split again for what it has left.
    Raises EtirError for paths that are missing, unexpected or given twice.
    """
    merged: dict[str, Any] = {}
    for group in values:
        if twice := merged.keys() & group.keys():
            raise errors.path_clash(min(twice))
        merged |= group
    return structure.filled(merged)


def _copied(model: Module, cells: Mapping[str, Cell]) -> Any:
    """A copy of a module, its states new ones that hold `cells`, or nothing."""
    states, memo = model.states(), dict[int, Any]()
    twins: dict[str, State] = {}
    for path, state in states.items():
        twins[path] = memo[id(state)] = object.__new__(type(state))
    for path, state in states.items():
        kept = {name: x for name, x in vars(state).items() if name not in ("base", "home", "birth")}
        vars(twins[path]).update(copy.deepcopy(kept, memo))
        found = cells.get(path, Cell())
        value = None if found.value is None else twins[path].accept(found.value)
        frame.create(twins[path], Cell(value=value, tags=found.tags))
    return copy.deepcopy(model, memo)
