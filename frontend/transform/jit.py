"""Compile a function that reads and writes states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .. import frame
from ..cell import Cell, Writes
from ..frame import Footprint, Frame
from ..state import State
from .named import like, name_of
from .operands import freeze, thaw


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
        operands = freeze(args, kwargs, numbers, names)
        entry = entries.setdefault(jax.tree.structure(operands), _Entry())
        out, writes = frame.settled(entry.footprint, lambda: _call(function, entry, operands))
        frame.note_reads(entry.footprint)
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
        args, kwargs = thaw(operands)
        with Frame(footprint, enters=_as_input).over(dict(zip(inputs, cells, strict=True))) as inside:
            return function(*args, **kwargs), inside.leave()

    pure.__name__ = pure.__qualname__ = name_of(function)
    return jax.jit(pure)


def _as_input(frame: Frame, state: State, cell: Cell) -> Cell | None:
    """Nothing: each state must be an input, or its value now would be built into the program."""
    return None
