"""Values of Python beside a step's arrays: they are part of the program, so a step must leave them as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from ..ir.loc import is_installed, is_machinery

PLAIN = (bool, int, float, complex, str, type(None))
"""What is no array and no part of a module."""
_LONGEST = 1000
"""The most entries of a list or a dict that are looked at: longer ones are data."""
_INSIDE = ">"
"""What stands before a name of a function's own in a path through functions."""

Path = tuple[object, ...]


def plain_values(attributes: Iterable[tuple[Iterable[object], Any]]) -> dict[str, Any]:
    """The numbers, strings and such among attributes, and in their lists and dicts, by dotted path."""
    found = (one for path, value in attributes for one in _entries(value, tuple(path), set()))
    return {".".join(map(str, path)): value for path, value in found}


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths of what a step changed, added or took away; a NaN that stayed is the same."""
    pairs = {path: (before.get(path, ...), after.get(path, ...)) for path in {**before, **after}}
    return [path for path, (old, new) in pairs.items() if old is not new and old != new]


def closed_over(function: Any) -> dict[str, Any]:
    """The numbers, strings and such that a function sees beside its arguments, by path.

    They stand in the variables that it closes over, and in the global ones that the user's functions name; in lists and
    dicts there; and in the variables of functions found in the same way.
    """
    return {".".join(map(str, path)): value for path, value in _entries(function, (), set(), functions=True)}


def rewritten_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The paths of what a step closes over and changed; an entry that was added is no change, nor one that is gone."""
    both = {path: after[path] for path in before if path in after}
    return changed_values({p: before[p] for p in both}, both)


def may_settle(path: str, after: Mapping[str, Any]) -> bool:
    """Whether a value is a flag, a text or None, which a step sets and then leaves; numbers are for counting."""
    return isinstance(after[path], (bool, str, type(None)))


def name_of(path: str) -> str:
    """What the function that a path ends in calls it."""
    return path.rpartition(_INSIDE)[2]


def _entries(node: Any, path: Path, seen: set[int], *, functions: bool = False) -> Iterator[tuple[Path, Any]]:
    if isinstance(node, PLAIN):
        yield path, node
    elif id(node) not in seen:
        seen.add(id(node))
        for name, child in _parts(node, functions):
            yield from _entries(child, (*path, name), seen, functions=functions)


def _parts(node: Any, functions: bool) -> Iterable[tuple[object, Any]]:
    if isinstance(node, (list, tuple)) and len(node) <= _LONGEST:
        return list(enumerate(node))
    if isinstance(node, dict) and len(node) <= _LONGEST:
        return list(node.items())
    if not functions:
        return ()
    if isinstance(node, partial):
        return [(_INSIDE, (node.func, node.args, node.keywords))]
    if isinstance(node, MethodType):
        return [(_INSIDE, node.__func__)]
    if wrapped := getattr(node, "__wrapped__", None):
        return [(_INSIDE, wrapped)]
    return list(_variables(node)) if isinstance(node, FunctionType) else ()


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function's free variables hold, and the global ones whose names occur in a function of the user's."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield f"{_INSIDE}{name}", cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    if not is_machinery(function.__module__ or "") and not is_installed(function.__code__.co_filename):
        names = function.__globals__
        yield from ((f"{_INSIDE}{name}", names[name]) for name in function.__code__.co_names if name in names)
