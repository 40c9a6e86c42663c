"""Loop over a leading axis, carrying states from iteration to iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax

from .. import frame
from ..cell import Cell, same_types
from ..frame import Footprint, Frame
from ..state import State
from . import faults


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """What `jax.lax.scan` returns: the last carry, and the outputs with a leading axis.

    The states that `function` writes are carried too. EtirError where one leaves an iteration with another type than it
    entered it with. Lazily shaped states get their shape from the first input; states made inside do not outlive an
    iteration.
    """
    footprint = frame.inner_footprint()

    def attempt() -> tuple[tuple[Any, tuple[Cell, ...]], Any]:
        states = tuple(footprint.states)
        body = _body(function, footprint, states)
        cells = tuple(frame.read(state) for state in states)
        return jax.lax.scan(body, (init, cells), xs, length, reverse=reverse, unroll=unroll)

    (carry, cells), ys = frame.settled(footprint, attempt)
    for state, cell in zip(footprint.states, cells, strict=True):
        frame.write(state, cell)
    return carry, ys


def for_loop(
    function: Callable[..., Any], *xs: Any, length: int | None = None, reverse: bool = False, unroll: int | bool = 1
) -> Any:
    """The results of `function(*x)` for each `x` along the leading axes of `xs`, stacked; states are carried."""
    return scan(lambda _, x: (None, function(*x)), None, xs, length, reverse=reverse, unroll=unroll)[1]


def _body(function: Callable[[Any, Any], tuple[Any, Any]], footprint: Footprint, states: tuple[State, ...]) -> Any:
    def body(carry: tuple[Any, tuple[Cell, ...]], x: Any) -> Any:
        before = dict(zip(states, carry[1], strict=True))
        with Frame(footprint, carries=True).over(before) as inside:
            out, y = function(carry[0], x)
            inside.settle()
            after = {state: inside.cells[state] for state in states}
        check_drift(before, after, "scan")
        return (out, tuple(after.values())), y

    return body


def check_drift(before: Mapping[State, Cell], after: Mapping[State, Cell], transform: str) -> None:
    """Raise EtirError for states that leave the body of a loop with another type than they entered it with."""
    drifts = [(s, before[s], after[s]) for s in before if not _same(before[s], after[s])]
    if drifts:
        raise faults.type_drift(drifts, transform)


def _same(a: Cell, b: Cell) -> bool:
    return a.tags == b.tags and same_types(a.value, b.value)
