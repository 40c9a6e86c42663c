"""Loop while a test of the carry, and of states, holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from .. import frame
from ..cell import Cell
from ..frame import Footprint, Frame
from ..state import State
from . import faults
from .scan import check_drift

T = TypeVar("T")


def while_loop(test: Callable[[T], Any], body: Callable[[T], T], init: T) -> T:
    """What `jax.lax.while_loop` returns: the carry for which `test(carry)` is false; states that `body` writes go on.

    `test` may read states, and not write them (EtirError). As in JAX there is no reverse-mode derivative. EtirError
    where a state leaves an iteration with another type than it entered it with.
    """
    footprint = frame.inner_footprint()

    def attempt() -> tuple[T, tuple[Cell, ...]]:
        states = tuple(footprint.states)
        cells = tuple(frame.read(state) for state in states)
        return jax.lax.while_loop(_tested(test, footprint, states), _body(body, footprint, states), (init, cells))

    carry, cells = frame.settled(footprint, attempt)
    for state, cell in zip(footprint.states, cells, strict=True):
        frame.write(state, cell)
    return carry


def _tested(test: Callable[[Any], Any], footprint: Footprint, states: tuple[State, ...]) -> Callable[[Any], Any]:
    def tested(at: tuple[Any, tuple[Cell, ...]]) -> Any:
        with Frame(footprint, carries=True).over(dict(zip(states, at[1], strict=True))) as inside:
            found = test(at[0])
            if inside.written:
                raise faults.written_in_test(*next(iter(inside.written.items())))
            inside.settle()
            return found

    return tested


def _body(body: Callable[[Any], Any], footprint: Footprint, states: tuple[State, ...]) -> Callable[[Any], Any]:
    def moved(at: tuple[Any, tuple[Cell, ...]]) -> Any:
        before = dict(zip(states, at[1], strict=True))
        with Frame(footprint, carries=True).over(before) as inside:
            out = body(at[0])
            inside.settle()
            after = {state: inside.cells[state] for state in states}
        check_drift(before, after, "while_loop")
        return out, tuple(after.values())

    return moved
