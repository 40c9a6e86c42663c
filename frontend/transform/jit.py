"""Compile a function that reads and writes states."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .. import frame
from ..cell import Cell, Writes
from ..frame import Footprint, Frame
from ..module import Module
from ..state import State
from .named import like, name_of


@jax.tree_util.register_static
@dataclass(frozen=True, slots=True)
class _Static:
    """An argument that is part of the compiled program, not of its inputs."""

    value: Hashable


@dataclass(slots=True, eq=False)
class _Entry:
    """The program for one structure of arguments, and the states that it takes."""

    footprint: Footprint = field(default_factory=Footprint)
    inputs: tuple[State, ...] | None = None
    program: Callable[..., tuple[Any, Writes]] | None = None


def jit(
    function: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] = (),
    static_argnames: str | Sequence[str] = (),
) -> Any:
    """`function`, or a module's call, compiled; states that it reads are inputs and states that it writes are outputs.

    Modules and states among the arguments are static. A state that is made in `function` exists after the call. Used as
    `jit(f)`, or as a decorator with or without options; on a method, the module is static.
    """
    if function is None:
        return lambda f: jit(f, static_argnums=static_argnums, static_argnames=static_argnames)
    entries: dict[Any, _Entry] = {}
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    names = (static_argnames,) if isinstance(static_argnames, str) else tuple(static_argnames)

    @like(function)
    def compiled(*args: Any, **kwargs: Any) -> Any:
        operands = _freeze(args, kwargs, numbers, names)
        entry = entries.setdefault(jax.tree.structure(operands), _Entry())
        out, writes = frame.settled(entry.footprint, lambda: _call(function, entry, operands))
        frame.commit(writes)
        return out

    return compiled


def _call(function: Callable[..., Any], entry: _Entry, operands: Any) -> tuple[Any, Writes]:
    inputs = tuple(entry.footprint.states)
    if entry.program is None or entry.inputs != inputs:
        entry.inputs, entry.program = inputs, _program(function, entry.footprint, inputs)
    return entry.program(tuple(frame.read(state) for state in inputs), operands)


def _program(
    function: Callable[..., Any], footprint: Footprint, inputs: tuple[State, ...]
) -> Callable[..., tuple[Any, Writes]]:
    def pure(cells: tuple[Cell, ...], operands: Any) -> tuple[Any, Writes]:
        args, kwargs = _thaw(operands)
        with Frame(footprint, enters=_as_input).over(dict(zip(inputs, cells, strict=True))) as inside:
            return function(*args, **kwargs), inside.leave()

    pure.__name__ = pure.__qualname__ = name_of(function)
    return jax.jit(pure)


def _as_input(frame: Frame, state: State, cell: Cell) -> Cell | None:
    """Nothing: each state must be an input, or its value now would be built into the program."""
    return None


def _freeze(args: tuple[Any, ...], kwargs: Mapping[str, Any], numbers: Sequence[int], names: Sequence[str]) -> Any:
    """The arguments, with what is static in a place where JAX takes it for structure."""
    chosen = {number % len(args) for number in numbers if -len(args) <= number < len(args)}
    marked = tuple(_Static(arg) if i in chosen else arg for i, arg in enumerate(args))
    named = {name: _Static(arg) if name in names else arg for name, arg in kwargs.items()}
    return jax.tree.map(
        lambda leaf: _Static(leaf) if isinstance(leaf, (Module, State)) else leaf, (marked, named), is_leaf=_is_static
    )


def _thaw(operands: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.value if _is_static(leaf) else leaf, operands, is_leaf=_is_static)


def _is_static(leaf: object) -> bool:
    return isinstance(leaf, _Static)
