"""One run of a function under vmap: which states the samples have each for themselves, and which they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import jax

from ...ir.loc import Loc
from ..cell import Cell, Writes
from ..filters import matcher
from ..frame import First, Footprint, Frame
from ..module import Module
from ..state import State

StateTest: TypeAlias = Callable[[State, Cell], bool]


def as_test(wanted: Any, default: StateTest) -> StateTest:
    """The states that `wanted` names, as a test of a state and what it holds; `default` where it is None."""
    if wanted is None:
        return default
    if isinstance(wanted, str):
        return lambda state, cell: cell.tags[:1] == (wanted,)
    if isinstance(wanted, State):
        return lambda state, cell: state is wanted
    if isinstance(wanted, Module):
        return lambda state, cell: state in wanted.states().values()
    if isinstance(wanted, Mapping):
        wanted = tuple(wanted.values())
    if isinstance(wanted, (list, tuple, set, frozenset)):
        tests = [as_test(choice, default) for choice in wanted]
        return lambda state, cell: any(test(state, cell) for test in tests)
    matches = matcher(wanted)
    return lambda state, cell: matches("", state)


class Samples:
    """A function as vmap runs it: from split states' cells and arguments to `(result, own writes, shared writes)`."""

    def __init__(
        self,
        function: Callable[..., Any],
        footprint: Footprint,
        cells: Mapping[State, Cell],
        splits: StateTest,
        widens: StateTest,
        tag: str,
        axis_name: Any,
        first: Callable[[First], First | None],
    ) -> None:
        self.first = first
        self.function, self.footprint, self.cells = function, footprint, cells
        self.splits, self.widens, self.tag, self.axis_name = splits, widens, tag, axis_name
        self.finished: list[tuple[State, Loc | None]] | None = None
        self._kept: dict[State, Any] = {}
        self._fresh: set[State] = set()

    @property
    def operands(self) -> tuple[dict[int, Cell], dict[int, Cell]]:
        """What the input states hold, by their number: of those to be mapped over, and of those that vary."""
        numbered = list(enumerate(self.cells.items()))
        split = {i: replace(cell, tags=cell.tags[1:]) for i, (state, cell) in numbered if not state.varies}
        return split, {i: cell for i, (state, cell) in numbered if state.varies}

    def __call__(
        self, split: dict[int, Cell], varied: dict[int, Cell], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """One sample's run."""
        self._kept, self._fresh, self.finished = {}, set(), None
        states = list(self.cells)
        entering = {states[i]: cell for i, cell in split.items()}
        entering |= {states[i]: self._variant(states[i], cell) for i, cell in varied.items()}
        inside = Frame(self.footprint, enters=self._enter, provisional=_first_sample, widens=self.first)
        with inside.over(entering):
            out = self.function(*args, **kwargs)
            writes = inside.leave()
        own = [
            self._is_own(s, created, c)
            for s, created, c in zip(writes.states, writes.created, writes.cells, strict=True)
        ]
        shared = writes.only([not each for each in own])
        self.finished = [(state, inside.written.get(state)) for state in shared.states]
        return out, self._tagged(writes.only(own)), self._with_kept(shared)

    def batched_writes(self, run: Callable[[Callable[..., Any], Any], Any]) -> list[tuple[State, Loc | None]]:
        """The shared states that were written with a value for each sample, and where.

        `run(body, out_axes)` maps a body.
        JAX says only that some output is batched, so each is tried alone. None where the function itself failed.
        """
        written = self.finished or []
        return [place for i, place in enumerate(written) if self._fails_alone(run, i)]

    def _fails_alone(self, run: Callable[[Callable[..., Any], Any], Any], index: int) -> bool:
        try:
            jax.eval_shape(lambda: run(lambda *operands: self(*operands)[2].cells[index].value, None))
        except ValueError:
            return True
        return False

    def _enter(self, frame: Frame, state: State, cell: Cell) -> Cell | None:
        if not cell.is_set:
            self._fresh.add(state)
            return cell
        return None if state.varies or self.splits(state, cell) else cell

    def _variant(self, state: State, cell: Cell) -> Cell:
        self._kept[state], mine = state.per_sample(cell.value, jax.lax.axis_index(self.axis_name))
        return replace(cell, value=mine)

    def _is_own(self, state: State, created: bool, cell: Cell) -> bool:
        if state in self._kept:
            return False
        return created or state in self.cells or state in self._fresh or self.widens(state, cell)

    def _tagged(self, own: Writes) -> Writes:
        outer = [self.cells[state].tags[:1] if state in self.cells else (self.tag,) for state in own.states]
        cells = tuple(replace(cell, tags=tags + cell.tags) for tags, cell in zip(outer, own.cells, strict=True))
        return replace(own, cells=cells)

    def _with_kept(self, shared: Writes) -> Writes:
        pairs = zip(shared.states, shared.cells, strict=True)
        return replace(
            shared, cells=tuple(replace(cell, value=self._kept.get(state, cell.value)) for state, cell in pairs)
        )


def _first_sample(state: State, cell: Cell) -> Cell:
    """What one sample would see of a state that is split; of one that varies, its type is what matters."""
    if state.varies:
        return cell
    return Cell(value=jax.tree.map(lambda leaf: leaf[0] if leaf.ndim else leaf, cell.value), tags=cell.tags[1:])
