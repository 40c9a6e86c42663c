"""Sequences driven piece by piece, from Python, by programs that do not know how long a sequence is.

A program has room for a piece, and is told how many of its steps there are. So sequences of all lengths share it, and
of a sequence the device holds a piece at a time. What goes from piece to piece is overwritten; what a caller gave is
copied first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..ir.diagnostics import EtirError, error
from ..ir.mesh_types import explicit_mesh, explicit_names
from .losses import Key, divided
from .results import Result, Trained

if TYPE_CHECKING:
    from .driven import Driven
    from .stepped import Stepped


class Turn(NamedTuple):
    """One call of a program, for some steps of a sequence."""

    start: int
    steps: int
    unit: int
    """The program takes whole numbers of this."""
    room: int
    """The steps that its arrays have room for."""


def turns(length: int, piece: int, units: Sequence[int]) -> Iterator[Turn]:
    """The calls for a sequence: of each piece what is whole in the first unit, then in the next; then what is left."""
    for begin in range(0, length, piece):
        at, end = begin, min(begin + piece, length)
        rooms = piece, *(min(piece, unit) for unit in units)
        for unit, room in zip(units, rooms, strict=False):
            if steps := (end - at) // unit * unit:
                yield Turn(at, steps, unit, room // unit * unit)
                at += steps
        if at < end:
            yield Turn(at, end - at, end - at, end - at)


def check_piece(piece: Any, window: int, **others: Any) -> None:
    """Raise EtirError for what is no number of whole windows, and for options that a piece does not go with."""
    if piece is None:
        return
    if isinstance(piece, bool) or not isinstance(piece, int) or piece < 1:
        raise error("unknown-option", f"piece={piece!r}; wanted a positive number of steps, or None")
    if piece % window:
        near = -(-piece // window) * window
        raise error(
            "unknown-option",
            f"piece={piece} steps are no whole number of windows, which have {window}",
            help=f"piece={near}",
        )
    for name, why in _EXCLUDED.items():
        if others.get(name) not in (None, False, "ignore"):
            raise error("option-pair", f"piece={piece} and {name}={others[name]!r}: {why}", help="leave one out")


_EXCLUDED = {
    "resumable": "a resumable call holds the steps of an open window in its carry, and is compiled for their number",
    "on_nonfinite": "training is taken back to the last good window, which earlier pieces have overwritten",
}


@dataclass(frozen=True, slots=True)
class Pieces:
    """A sequence that is cut into pieces."""

    piece: int
    over_time: Any
    """Inputs, targets where there are any, and signals and marks by name."""
    length: int

    @classmethod
    def of(
        cls,
        piece: int,
        given: Any,
        over_time: Sequence[Any],
        refuse: Callable[[], None],
        steps: int | None = None,
    ) -> Pieces:
        """Of what a method is given, and what else `over_time`; `steps` says the length where nothing there does.

        Raises EtirError inside a transform of JAX, where types name mesh axes, and where lengths do not fit: `refuse`
        raises that.
        """
        leaves = jax.tree.leaves((given, over_time))
        if explicit_names(jax.sharding.get_abstract_mesh()) or any(explicit_mesh(x) is not None for x in leaves):
            raise error(
                "piece-mesh",
                f"piece={piece} overwrites arrays from call to call, which JAX does not do where types name mesh axes",
                help="make the mesh of Auto axes, for etir.shard; or leave piece= out",
            )
        if any(isinstance(x, Tracer) for x in leaves):
            raise error(
                "piece-traced",
                f"piece={piece} runs compiled programs one after the other, and inside a transform of JAX none runs",
                help="call it outside jax.jit: it is compiled by itself; or leave piece= out",
            )
        *arrays, signals = over_time
        over_time = *arrays, {name: _array(x) for name, x in signals.items() if x is not None}
        lengths = {np.shape(x)[:1] for x in jax.tree.leaves(over_time)} | ({(steps,)} if steps is not None else set())
        if len(lengths) != 1 or lengths <= {(), (0,)}:
            refuse()
        return cls(piece, over_time, lengths.pop()[0])

    def taken(self, turn: Turn) -> Any:
        """The steps of one turn, and as many of the last one's copies as there is room for."""
        leaves, structure = jax.tree.flatten(self.over_time)
        here = [k for k, x in enumerate(leaves) if _is_here(x)]
        for k in here:
            leaves[k] = _cut(np.asarray(leaves[k]), turn)
        others = [k for k, _ in enumerate(leaves) if k not in here]
        found = _cut_there([leaves[k] for k in others], turn.start, turn.steps, room=turn.room) if others else []
        for k, x in zip(others, found, strict=True):
            leaves[k] = x
        return jax.tree.unflatten(structure, leaves)

    def run(
        self, begin: Callable[[], Any], units: Sequence[int], one: Callable[..., Any], refuse: Callable[[], None]
    ) -> tuple[Any, Any]:
        """What is carried after all pieces, and the results: `one(carried, turn, arrays)` gives both of a turn.

        `begin` gives what is carried before the first.

        Where a piece is refused, what is said is of the whole sequence.
        """
        found = Gathered()
        try:
            carried = begin()
            for turn in turns(self.length, self.piece, units):
                carried, results = one(carried, turn, self.taken(turn))
                found.add(results, turn.steps)
        except (EtirError, TypeError):
            refuse()
            raise
        return carried, found.whole()


def _array(signal: Any) -> Any:
    """A signal or mark, which is one array, or a list of a number for each step."""
    return signal if isinstance(signal, jax.Array) else np.asarray(signal)


def _cut(array: np.ndarray, turn: Turn) -> np.ndarray:
    if turn.steps == turn.room:
        return array[turn.start : turn.start + turn.steps]
    return array[turn.start + np.minimum(np.arange(turn.room), turn.steps - 1)]


@partial(jax.jit, static_argnames="room")
def _cut_there(arrays: list[Any], start: Any, steps: Any, *, room: int) -> list[Any]:
    return [jnp.take(x, start + jnp.minimum(jnp.arange(room), steps - 1), axis=0) for x in arrays]


def _is_here(x: Any) -> bool:
    """Whether NumPy reads an array where it lies; then nothing need be compiled to cut it."""
    if not isinstance(x, jax.Array):
        return True
    if not x.is_fully_addressable or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        return False
    devices = x.devices()
    return len(devices) == 1 and next(iter(devices)).platform == "cpu"


@dataclass(slots=True)
class Gathered:
    """The losses, and what else a loss returned, of pieces: one piece runs while the next is made ready."""

    parts: list[Any] = field(default_factory=list[Any])

    def add(self, results: Any, steps: int) -> None:
        """Keep the first steps of some results, once those before are there."""
        if self.parts:
            found, count = self.parts[-1]
            self.parts[-1] = jax.tree.map(lambda x: np.asarray(x)[:count] if _is_here(x) else x[:count], found), count
            jax.block_until_ready(found)
        self.parts.append((results, steps))

    def whole(self) -> Any:
        """All steps of them."""
        self.add((), 0)
        parts = [found for found, _ in self.parts[:-1]]
        return jax.tree.map(lambda *own: _joined(own), *parts)


def _joined(parts: Sequence[Any]) -> jax.Array:
    if all(isinstance(x, np.ndarray) for x in parts):
        return jax.device_put(np.concatenate(parts) if len(parts) > 1 else parts[0])
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


@jax.jit
def _own(tree: Any) -> Any:
    """Copies, which may be overwritten."""
    return jax.tree.map(jnp.copy, tree)


def gradient_by_pieces(driven: Driven, loss: Key, reduction: str, piece: int, given: Sequence[Any]) -> Result:
    """The gradient over a sequence; `given` is as `driven.gradient` is given it."""
    params, carry, *over_time = given
    refuse = partial(driven.gradient.refuse, loss, reduction, False, *given)
    pieces = Pieces.of(piece, (params, carry), over_time, refuse)

    def one(now: Any, turn: Turn, arrays: Any) -> tuple[Any, Any]:
        grads, carry = now
        after = driven.portion_gradient(loss, turn.unit, params, carry, *arrays, np.int32(turn.steps), grads)
        return (after.grads, after.carry), (after.losses, after.aux)

    def begin() -> Any:
        return driven.no_gradient(), _own(carry)

    (grads, after), (losses, aux) = pieces.run(begin, driven.engine.units(piece), one, refuse)
    if reduction == "mean":
        count = driven.arguments.counted_steps(over_time[-1], pieces.length)
        grads = jax.tree.map(lambda g: divided(g, count), grads)
    return Result(grads, losses, after, aux)


def train_by_pieces(driven: Driven, options: tuple[Any, ...], piece: int, given: Sequence[Any]) -> Trained:
    """Training over a sequence; `options` and `given` are as `driven.train` is given them."""
    params, opt_state, carry, *over_time = given
    refuse = partial(driven.train.refuse, *options, *given)
    pieces = Pieces.of(piece, (params, opt_state, carry), over_time, refuse)

    def one(now: Any, turn: Turn, arrays: Any) -> tuple[Any, Any]:
        *now, losses, aux = driven.portion_train(*options, turn.unit, *now, *arrays, np.int32(turn.steps))
        return now, (losses, aux)

    def begin() -> Any:
        return params, *_own((opt_state, carry))

    after, found = pieces.run(begin, (driven.window,), one, refuse)
    return Trained(*after, *found)


def predict_by_pieces(stepped: Stepped, piece: int, given: Sequence[Any]) -> tuple[Any, Any]:
    """The model alone over a sequence; `given` is as `stepped.predict` is given it."""
    steps, params, states, *over_time = given
    refuse = partial(stepped.predict.refuse, *given)
    pieces = Pieces.of(piece, (params, states), over_time, refuse, steps)

    def one(states: Any, turn: Turn, arrays: Any) -> tuple[Any, Any]:
        return stepped.portion_predict(turn.room, params, states, *arrays, np.int32(turn.steps))

    return pieces.run(lambda: _own(states), (1,), one, refuse)
