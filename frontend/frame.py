"""Frames: the values that states have while a transform traces a function.

While a transform runs a user's function, a `Frame` lies over the states: reads and writes go to the frame, and the
states themselves keep their values. So a function that raises leaves no trace in them, and a write is never lost: what
a frame collected is returned from the traced function as `Writes`, and committed one level further out.

A transform that must know beforehand which states are its inputs (or its loop carry) starts from a guess, its
`Footprint`. Where the function used others, the frame raises `Missed` at the end of the function, the footprint grows,
and the transform tries again. A footprint remembers those of the transforms inside, so a nest of n transforms is traced
about n times, not 2^n.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import jax
from jax.core import Tracer

from ..ir.jaxpr import current_trace, eager_trace
from ..ir.loc import Loc, calling_line
from . import errors
from .cell import Cell, Writes

if TYPE_CHECKING:
    from .state import State

T = TypeVar("T")

First = Callable[[], Cell]
"""What a lazily shaped state holds at first."""

_ACTIVE: ContextVar[Frame | None] = ContextVar("etir_frame", default=None)
_SERIALS = itertools.count(1)


@dataclass(slots=True, eq=False)
class Footprint:
    """The states that a transform takes as inputs, as far as is known, and the footprints of the transforms inside."""

    states: dict[State, None] = field(default_factory=dict)
    inner: list[Footprint] = field(default_factory=list)
    reads: dict[State, None] = field(default_factory=dict)
    """The states whose values the function asked for, inner transforms included."""


class Missed(Exception):  # noqa: N818  (no error: a request to trace again)
    """A traced function used states that its transform did not know of."""

    def __init__(self, footprint: Footprint, states: list[State], lazy: dict[State, First]) -> None:
        super().__init__("states were found while tracing")
        self.footprint = footprint
        self.states = states
        self.lazy = lazy


class Frame:
    """The values of states during one run of a traced function.

    `enters(state, cell)` says what the function sees of a state that is used for the first time: the cell itself where
    it may simply be closed over, or None where it must be an input, which is then missed. `carries` says that every
    state that is written must be an input too. `provisional` is what is seen of a missed state until the next attempt.
    `widens` says what a lazily shaped state, which got its first value here, holds outside; None where it stays unset.
    """

    def __init__(
        self,
        footprint: Footprint,
        *,
        enters: Callable[[Frame, State, Cell], Cell | None] = lambda _, __, cell: cell,
        provisional: Callable[[State, Cell], Cell] = lambda _, cell: cell,
        carries: bool = False,
        widens: Callable[[First], First | None] = lambda first: first,
    ) -> None:
        self.serial = next(_SERIALS)
        self.footprint = footprint
        self.parent: Frame | None = None
        self.trace: object = None
        self.cells: dict[State, Cell] = {}
        self.written: dict[State, Loc | None] = {}
        self.created: dict[State, None] = {}
        self.missed: dict[State, None] = {}
        self.lazy: dict[State, First] = {}
        self.widens = widens
        self.differentiated: frozenset[State] = frozenset()
        self._before: dict[State, Any] = {}
        self._enters, self._provisional, self._carries = enters, provisional, carries
        self._inner, self._started = footprint.inner, 0

    @contextmanager
    def over(self, cells: Mapping[State, Cell]) -> Generator[Frame, None, None]:
        """Lay this frame over the states, those of `cells` having the values given there."""
        self.parent, self.trace = _ACTIVE.get(), current_trace()
        for state, cell in cells.items():
            self.enter(state, cell)
        token = _ACTIVE.set(self)
        try:
            yield self
        finally:
            _ACTIVE.reset(token)

    def enter(self, state: State, cell: Cell) -> Cell:
        """Give `state` its value at the start of the function."""
        self._before[state] = cell.value
        self.cells[state] = cell = cell.copied()
        return cell

    def read(self, state: State) -> Cell:
        """What `state` holds here."""
        if state in self.cells:
            return self.cells[state]
        if state.birth == self.serial:
            return state.base
        outer = self.parent.read(state) if self.parent else state.outside()
        cell = self._enters(self, state, outer)
        if cell is None:
            self.missed[state] = None
            cell = self._provisional(state, outer)
        return self.enter(state, cell) if current_trace() == self.trace else cell

    def write(self, state: State, cell: Cell) -> None:
        """Make `state` hold `cell` here."""
        self.read(state)
        self.cells[state] = cell
        self.written[state] = calling_line()

    def create(self, state: State, cell: Cell) -> None:
        """Take in a state that is made here."""
        self.created[state] = None
        self.cells[state] = cell

    def next_inner(self) -> Footprint:
        """The footprint of the next transform inside this function."""
        self._started += 1
        if len(self._inner) < self._started:
            self._inner.append(Footprint())
        return self._inner[self._started - 1]

    def settle(self) -> None:
        """Look for changes made in place, and raise Missed where inputs were missed."""
        for state, before in self._before.items():
            if state not in self.written and _changed(before, self.cells[state].value):
                self._accept_in_place(state, before)
        missed = dict(self.missed)
        if self._carries:
            missed |= {s: None for s in self.written if s not in self.footprint.states and s not in self.created}
        lazy = {state: first for state, first in self.lazy.items() if state not in self.created}
        if missed or lazy:
            raise Missed(self.footprint, list(missed), lazy)

    def _accept_in_place(self, state: State, before: Any) -> None:
        cell = self.cells[state]
        value = state.accept(cell.value)
        if jax.tree.structure(before) != jax.tree.structure(value):
            raise errors.wrong_tree(state, before, value)
        self.cells[state], self.written[state] = replace(cell, value=value), None

    def leave(self) -> Writes:
        """All that was written or made here, to be returned from the traced function and committed outside."""
        self.settle()
        states = [*self.created, *(s for s in self.written if s not in self.created)]
        return Writes(
            states=tuple(states),
            created=tuple(s in self.created for s in states),
            cells=tuple(self.cells[s] for s in states),
        )


def settled(footprint: Footprint, attempt: Callable[[], T]) -> T:
    """The result of `attempt`, repeated until `footprint` holds every state that it needs."""
    while True:
        try:
            return attempt()
        except Missed as missed:
            if missed.footprint is not footprint:
                raise
            grown = [state for state in missed.states if state not in footprint.states]
            if not grown and not missed.lazy:
                raise AssertionError("a transform missed the same states twice") from missed
            footprint.states.update(dict.fromkeys(grown))
            lazy = missed.lazy
        for state, first in lazy.items():
            if not read(state).is_set:
                note_lazy(state, first)
                write(state, first())


def inner_footprint() -> Footprint:
    """The footprint for a transform that starts here: remembered where an outer transform traces again, else new."""
    frame = _ACTIVE.get()
    return Footprint() if frame is None else frame.next_inner()


def read(state: State) -> Cell:
    """What `state` holds now."""
    frame = _ACTIVE.get()
    if frame is None or _is_local(state, frame):
        cell = state.outside()
        if holds_dead_tracer(cell):
            raise errors.leaked_tracer(state, "read")
        return cell
    return frame.read(state)


def write(state: State, cell: Cell) -> None:
    """Make `state` hold `cell` from now on; EtirError where JAX would lose the write."""
    frame, now = _ACTIVE.get(), current_trace()
    if frame is not None and frame.trace == now:
        frame.write(state, cell)
        return
    if now != eager_trace() and not (state.home == now and _is_local(state, frame)):
        raise errors.foreign_transform(state)
    state.base, state.home = cell, now


def create(state: State, cell: Cell) -> None:
    """Give a new state its first value."""
    frame, now = _ACTIVE.get(), current_trace()
    state.home, state.birth, state.base = now, frame.serial if frame else 0, Cell()
    if frame is not None and frame.trace == now:
        frame.create(state, cell)
    else:
        state.base = cell


def note_read(state: State) -> None:
    """Remember, for every function that is being traced, that it asked for the value of `state`."""
    frame = _ACTIVE.get()
    while frame is not None:
        frame.footprint.reads[state] = None
        frame = frame.parent


def note_reads(footprint: Footprint) -> None:
    """The same of all that a function with this footprint reads, which need not have been traced again."""
    for state in footprint.reads:
        note_read(state)


def is_differentiated(state: State) -> bool:
    """Whether a transform around this place takes the gradient by what `state` held when it began."""
    frame = _ACTIVE.get()
    while frame is not None and state not in frame.differentiated:
        frame = frame.parent
    return frame is not None


def commit(writes: Writes) -> None:
    """Write outside what a traced function wrote; what it made, exists from now on."""
    for state, cell, created in zip(writes.states, writes.cells, writes.created, strict=True):
        if created and not state.base.is_set:
            create(state, cell)
        else:
            write(state, cell)


def note_lazy(state: State, first: First) -> None:
    """Remember that a lazily shaped state got its shape here, so that a transform can set it before it starts.

    Not one that became unset here: it is to begin anew in the middle.
    """
    frame = _ACTIVE.get()
    if frame is None or frame.trace != current_trace() or state in frame.written:
        return
    outside = frame.widens(first)
    if outside is not None:
        frame.lazy.setdefault(state, outside)


def _changed(before: Any, after: Any) -> bool:
    old, new = jax.tree.leaves(before), jax.tree.leaves(after)
    return len(old) != len(new) or any(a is not b for a, b in zip(old, new, strict=True))


def holds_dead_tracer(value: Any) -> bool:
    """Whether `value` holds a value of a transform, and none is active."""
    return _has_tracer(value) and current_trace() == eager_trace()


def _is_local(state: State, frame: Frame | None) -> bool:
    """Whether `state` was made in this function, but under a transform of JAX that no frame belongs to."""
    if frame is None:
        return True
    return state.birth == frame.serial and state not in frame.created


def _has_tracer(tree: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))
