"""Modules: objects whose attributes hold states, and the paths of those states."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import errors
from .attributes import PLAIN, plain_values
from .cell import is_array_like
from .filters import Filter, matcher
from .state import State, describe


class Module:
    """A model, or a part of one: states and other modules as attributes, and `update` as what a call does.

    States are found in attributes, and in lists, tuples and dicts of attributes, to any depth. The path of a state is
    the way to it, dotted: `cell.w`, `layers.0.w`. A state that is reached in several ways has the first one's path.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `update` returns."""
        update = getattr(self, "update", None)
        if update is None:
            raise errors.no_update(self)
        return update(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if isinstance(old, State) and is_array_like(value):
            raise errors.state_replaced(old, name)
        for path, state in _walk(value, (name,), set()):
            state.name = state.name or path
        super().__setattr__(name, value)

    def states(self, kind: Filter = None) -> dict[str, State]:
        """The states by path, in the order of the attributes; those that `kind` matches, where it is given.

        `kind` is a State class, a glob of paths, a predicate of a state, `...` for all, or a tuple of these.
        """
        found: dict[str, State] = {}
        for path, state in _walk(self, (), set()):
            if path in found:
                raise errors.path_clash(path)
            found[path] = state
        matches = matcher(kind)
        return {path: state for path, state in found.items() if matches(path, state)}

    def __repr__(self) -> str:
        return "\n".join(_lines(type(self).__name__, self, {id(self)}))


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    """The named parts of a module or of a container; nothing for anything else."""
    if isinstance(node, Module):
        yield from vars(node).items()
    elif isinstance(node, dict):
        yield from ((str(key), child) for key, child in node.items())
    elif isinstance(node, (list, tuple)):
        yield from ((str(i), child) for i, child in enumerate(node))


def _walk(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, State]]:
    if not isinstance(node, (State, Module, dict, list, tuple)) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, State):
        yield ".".join(path), node
    for name, child in _children(node):
        yield from _walk(child, (*path, name), seen)


def plain_attributes(model: Any) -> dict[str, Any]:
    """The numbers, strings and such among the attributes of a module and of those in it, by path."""
    return plain_values(_attributes(model, (), set()))


def _attributes(node: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if id(node) in seen and not isinstance(node, PLAIN):
        return
    seen.add(id(node))
    yield path, node
    for name, child in _children(node):
        yield from _attributes(child, (*path, name), seen)


def _lines(label: str, module: Module, seen: set[int]) -> list[str]:
    inside: list[str] = []
    for name, child in vars(module).items():
        if name.startswith("_") and not any(_walk(child, (), set())):
            continue
        inside += _part_lines(name, child, seen)
    return [f"{label}(", *(f"  {line}" for line in inside), ")"] if inside else [f"{label}()"]


def _part_lines(name: str, part: Any, seen: set[int]) -> list[str]:
    if isinstance(part, State):
        return [f"{name}: {describe(part)}"]
    if isinstance(part, Module):
        label = f"{name}: {type(part).__name__}"
        return [f"{label}(...)"] if id(part) in seen else _lines(label, part, seen | {id(part)})
    if isinstance(part, (dict, list, tuple)) and any(_walk(part, (), set())):
        return [line for key, child in _children(part) for line in _part_lines(f"{name}.{key}", child, seen)]
    return [f"{name} = {_short(part)}"]


def _short(value: Any) -> str:
    text = repr(value).replace("\n", " ")
    return text if len(text) <= 60 else f"<{type(value).__name__}>"
