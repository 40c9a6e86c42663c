"""What a function does with states, and the program that it is: found by tracing it, and nothing is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from .. import frame
from ..cell import Cell, Writes
from ..frame import Footprint, Frame
from ..paths import free_path, states_within
from ..state import State
from .operands import freeze, thaw


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """The states that a function reads, writes and makes, by path; a state may be read and written."""

    reads: dict[str, State]
    """Those whose values it asks for, before or after it has written them."""
    writes: dict[str, State]
    makes: dict[str, State]

    def __str__(self) -> str:
        rows = dict.fromkeys([*self.reads, *self.writes, *self.makes])
        width = max(map(len, rows), default=0)
        return "\n".join(f"{path:<{width}}  {self._of(path)}" for path in rows)

    def _of(self, path: str) -> str:
        uses = {"reads": self.reads, "writes": self.writes, "makes": self.makes}
        return ", ".join(use for use, states in uses.items() if path in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatefulJaxpr:
    """A function as a pure program: its inputs are what `inputs` hold, then the arguments; its results follow suit."""

    jaxpr: Any
    """The closed jaxpr: results are those of the function, then what it has left in `outputs`."""
    inputs: dict[str, State]
    outputs: dict[str, State]

    def __str__(self) -> str:
        said = [f"{name} {', '.join(paths)}" for name, paths in (("in", self.inputs), ("out", self.outputs)) if paths]
        return "\n".join([*said, str(self.jaxpr)])


def states_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Uses:
    """The states that `function(*args, **kwargs)` reads, writes and makes.

    It is traced, not run: no state changes, but that lazily shaped ones get their first values. Paths are those of the
    module that it is, or else the states' names. States of which it only asks whether they are set count as neither.
    """
    footprint, writes = _traced(function, args, kwargs)[:2]
    paths = _paths(function, [*footprint.states, *writes.states])
    made = {state for state, created in zip(writes.states, writes.created, strict=True) if created}
    return Uses(
        reads={path: state for path, state in paths.items() if state in footprint.reads and state in footprint.states},
        writes={path: state for path, state in paths.items() if state in writes.states and state not in made},
        makes={path: state for path, state in paths.items() if state in made},
    )


def make_jaxpr(function: Callable[..., Any]) -> Callable[..., StatefulJaxpr]:
    """A function that gives the program of `function` for arguments, as `jax.make_jaxpr` does, its states threaded."""

    def traced(*args: Any, **kwargs: Any) -> StatefulJaxpr:
        footprint, writes, pure = _traced(function, args, kwargs)
        cells = tuple(frame.read(state) for state in footprint.states)
        jaxpr = jax.make_jaxpr(pure)(cells, freeze(args, kwargs))
        paths = {state: path for path, state in _paths(function, [*footprint.states, *writes.states]).items()}
        return StatefulJaxpr(
            jaxpr=jaxpr,
            inputs={paths[state]: state for state in footprint.states},
            outputs={paths[state]: state for state in writes.states},
        )

    return traced


def _traced(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Footprint, Writes, Callable[..., Any]]:
    footprint = Footprint()

    def pure(cells: tuple[Cell, ...], operands: Any) -> tuple[Any, Writes]:
        entering = dict(zip(footprint.states, cells, strict=True))
        given, named = thaw(operands)
        with Frame(footprint, enters=lambda _, __, ___: None).over(entering) as inside:
            return function(*given, **named), inside.leave()

    def attempt() -> tuple[Any, Writes]:
        cells = tuple(frame.read(state) for state in footprint.states)
        return jax.eval_shape(pure, cells, freeze(args, kwargs))

    return footprint, frame.settled(footprint, attempt)[1], pure


def _paths(function: Callable[..., Any], used: list[State]) -> dict[str, State]:
    """The used states by path."""
    known = {state: path for path, state in states_within(function).items()}
    found: dict[str, State] = {}
    for state in dict.fromkeys(used):
        found[known.get(state) or free_path(state, found)] = state
    return found
