"""Choosing among states: filter, split, merge."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from types import EllipsisType
from typing import Any, TypeAlias

from . import errors
from .state import State

Filter: TypeAlias = "type[State] | str | Callable[[State], bool] | EllipsisType | tuple[Any, ...] | None"
"""A State class, a glob of paths, a predicate of a state, `...` or None for all, or a tuple: any of several."""


def matcher(wanted: Filter) -> Callable[[str, State], bool]:
    """A predicate of path and state; EtirError where `wanted` is no filter."""
    if wanted is None or wanted is ...:
        return lambda path, state: True
    if isinstance(wanted, tuple):
        choices = [matcher(choice) for choice in wanted]
        return lambda path, state: any(choice(path, state) for choice in choices)
    if isinstance(wanted, str):
        return lambda path, state: fnmatch.fnmatchcase(path, wanted)
    if isinstance(wanted, type):
        if not issubclass(wanted, State):
            raise errors.bad_filter(wanted)
        return lambda path, state: isinstance(state, wanted)
    if callable(wanted) and not hasattr(wanted, "states"):
        return lambda path, state: bool(wanted(state))
    raise errors.bad_filter(wanted)


def states_of(function: str, source: Any) -> dict[str, State]:
    """The states of a module, or of a dict of states by path, by path."""
    # A module is known by its method: `module` imports this file.
    if callable(getattr(source, "states", None)):
        return dict(source.states())
    if isinstance(source, Mapping) and all(isinstance(state, State) for state in source.values()):
        return dict(source)
    raise errors.not_a_module(function, source)


def filter_states(source: Any, *filters: Filter) -> dict[str, State]:
    """The states of a module, or of a dict by path, that match any of the filters, by path."""
    matches = matcher(filters)
    return {path: state for path, state in states_of("filter_states", source).items() if matches(path, state)}


def split_states(source: Any, *filters: Filter) -> tuple[dict[str, State], ...]:
    """One dict by path for each filter, each state in that of the first filter that it matches.

    EtirError where a state matches none: give `...` as the last filter to take the rest.
    """
    matchers = [matcher(wanted) for wanted in filters]
    groups: tuple[dict[str, State], ...] = tuple({} for _ in filters)
    rest: list[str] = []
    for path, state in states_of("split_states", source).items():
        home = next((group for group, matches in zip(groups, matchers, strict=True) if matches(path, state)), None)
        if home is None:
            rest.append(path)
        else:
            home[path] = state
    if rest:
        raise errors.left_over(rest)
    return groups


def merge_states(*groups: Mapping[str, State]) -> dict[str, State]:
    """One dict by path of all groups; EtirError where two different states have one path."""
    merged: dict[str, State] = {}
    for group in groups:
        for path, state in states_of("merge_states", group).items():
            if merged.setdefault(path, state) is not state:
                raise errors.path_clash(path)
    return merged
