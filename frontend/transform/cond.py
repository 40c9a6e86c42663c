"""Choose between functions that write states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .. import frame
from ..cell import Cell, same_types
from ..frame import Footprint, Frame
from ..state import State
from . import faults


def cond(pred: Any, true_function: Callable[..., Any], false_function: Callable[..., Any], *operands: Any) -> Any:
    """What `true_function(*operands)` returns where `pred`, else what `false_function(*operands)` returns.

    Only the chosen function's writes happen. Both must leave a state with the same type (EtirError).
    """
    return _choose(
        lambda branches, args: jax.lax.cond(pred, *branches, *args), (true_function, false_function), operands
    )


def switch(index: Any, functions: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """What `functions[index](*operands)` returns, `index` clipped to the list; only that function's writes happen."""
    return _choose(lambda branches, args: jax.lax.switch(index, branches, *args), tuple(functions), operands)


def _choose(choose: Callable[..., Any], functions: tuple[Callable[..., Any], ...], operands: tuple[Any, ...]) -> Any:
    footprint = frame.inner_footprint()

    def attempt() -> tuple[Any, tuple[Cell, ...]]:
        states = tuple(footprint.states)
        seen: list[tuple[Cell, ...]] = []
        branches = [_branch(function, footprint, states, i, seen) for i, function in enumerate(functions)]
        return choose(branches, (tuple(frame.read(state) for state in states), *operands))

    out, cells = frame.settled(footprint, attempt)
    for state, cell in zip(footprint.states, cells, strict=True):
        frame.write(state, cell)
    return out


def _branch(
    function: Callable[..., Any],
    footprint: Footprint,
    states: tuple[State, ...],
    index: int,
    seen: list[tuple[Cell, ...]],
) -> Callable[..., Any]:
    def branch(cells: tuple[Cell, ...], *operands: Any) -> Any:
        entering = dict(zip(states, cells, strict=True))
        with Frame(footprint, carries=True).over(entering) as inside:
            out = function(*operands)
            inside.settle()
            after = tuple(inside.cells[state] for state in states)
        seen.append(after)
        clashes = [
            (s, a, b) for s, a, b in zip(states, seen[0], after, strict=True) if not same_types(a.value, b.value)
        ]
        if clashes:
            raise faults.branch_types(clashes, index)
        return out, after

    return branch
