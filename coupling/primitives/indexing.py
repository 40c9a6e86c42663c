"""Gathers, scatters and dynamic slices: exact where the indices are constants, else everything along indexed axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import Coupling
from .context import Context, Couplings, Rule, in_shapes, out_shapes

Shape = tuple[int, ...]

MAX_INDICES = 2**22
"""A gather of more positions than this along its indexed axes is not followed index by index."""


def dynamic_slice(eqn: Any, context: Context) -> Couplings:
    """A slice whose start is clamped so that it fits."""
    shape, out_shape = in_shapes(eqn)[0], out_shapes(eqn)[0]
    starts = _starts(eqn.invars[1 : 1 + len(shape)], shape, out_shape, context)
    return [[_moving(shape, out_shape, starts, piece=False), *(None for _ in eqn.invars[1:])]]


def dynamic_update_slice(eqn: Any, context: Context) -> Couplings:
    """The operand with a piece replaced: the operand is taken to reach all of the output."""
    shape, update = in_shapes(eqn)[:2]
    starts = _starts(eqn.invars[2 : 2 + len(shape)], shape, update, context)
    kept = None if update == shape else Coupling.identity(shape)
    return [[kept, _moving(update, shape, starts, piece=True), *(None for _ in eqn.invars[2:])]]


def _starts(atoms: Sequence[Any], whole: Shape, part: Shape, context: Context) -> list[int | None]:
    """Where a part starts in the whole along each axis, `None` where that is not constant."""
    starts: list[int | None] = []
    for atom, size, piece in zip(atoms, whole, part, strict=True):
        value = context.integers(atom)
        if piece == size:
            starts.append(0)
        else:
            starts.append(None if value is None else int(np.clip(value, 0, size - piece)))
    return starts


def _moving(in_shape: Shape, out_shape: Shape, starts: Sequence[int | None], *, piece: bool) -> Coupling | None:
    """A slice, or the piece it is cut from, with everything coupled along axes without a constant start."""
    fixed = [axis for axis, start in enumerate(starts) if start is not None]
    begin = [start for start in starts if start is not None]
    ins, outs = ([shape[axis] for axis in fixed] for shape in (in_shape, out_shape))
    if piece:
        inner = Coupling.piece(ins, outs, begin)
    else:
        inner = Coupling.sliced(ins, begin, [a + n for a, n in zip(begin, outs, strict=True)])
    return None if inner is None else inner.placed(in_shape, out_shape, fixed, fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexing:
    """How a gather reads `operand`, or a scatter writes it: the same numbers under one name."""

    operand: Shape
    window: Shape
    """The shape of what is gathered (of the updates, for a scatter)."""
    sizes: Shape
    """Window sizes along the operand's axes."""
    offset_dims: Shape
    collapsed: Shape
    index_map: Shape
    operand_batch: Shape
    index_batch: Shape
    clips: bool
    """Whether windows out of bounds are moved inside; otherwise they are dropped."""

    @property
    def kept(self) -> list[int]:
        """The operand's axes that the window has, in the order of `offset_dims`."""
        gone = {*self.collapsed, *self.operand_batch}
        return [axis for axis in range(len(self.operand)) if axis not in gone]

    @property
    def batch_axes(self) -> list[int]:
        """The window's axes that come from the indices."""
        return [axis for axis in range(len(self.window)) if axis not in self.offset_dims]

    @property
    def batch_pairs(self) -> list[tuple[int, int]]:
        """The operand's batching axes, each with the window's axis that runs along with it."""
        return [
            (axis, self.batch_axes[place]) for axis, place in zip(self.operand_batch, self.index_batch, strict=True)
        ]


def gather(eqn: Any, context: Context) -> Couplings:
    """What is gathered depends on where its indices point."""
    numbers = eqn.params["dimension_numbers"]
    operand = in_shapes(eqn)[0]
    indexing = Indexing(
        operand=operand,
        window=out_shapes(eqn)[0],
        sizes=tuple(eqn.params["slice_sizes"]),
        offset_dims=tuple(numbers.offset_dims),
        collapsed=tuple(numbers.collapsed_slice_dims),
        index_map=tuple(numbers.start_index_map),
        operand_batch=tuple(numbers.operand_batching_dims),
        index_batch=tuple(numbers.start_indices_batching_dims),
        clips=_clips(eqn),
    )
    return [[_gathered(indexing, context.integers(eqn.invars[1])), None]]


def scatter(eqn: Any, context: Context) -> Couplings:
    """The operand everywhere, and the updates where their indices point."""
    numbers = eqn.params["dimension_numbers"]
    operand, _, updates = in_shapes(eqn)[:3]
    window_dims = tuple(numbers.update_window_dims)
    inserted, batch = tuple(numbers.inserted_window_dims), tuple(numbers.operand_batching_dims)
    window_sizes = iter([updates[axis] for axis in window_dims])
    indexing = Indexing(
        operand=operand,
        window=updates,
        sizes=tuple(1 if axis in (*inserted, *batch) else next(window_sizes) for axis in range(len(operand))),
        offset_dims=window_dims,
        collapsed=inserted,
        index_map=tuple(numbers.scatter_dims_to_operand_dims),
        operand_batch=batch,
        index_batch=tuple(numbers.scatter_indices_batching_dims),
        clips=_clips(eqn),
    )
    read = _gathered(indexing, context.integers(eqn.invars[1]))
    return [[Coupling.identity(operand), None, None if read is None else read.transpose()]]


def _clips(eqn: Any) -> bool:
    """Whether windows out of bounds are moved inside; where none is promised, either will do."""
    return "fill" not in str(eqn.params["mode"]).lower()


def _gathered(indexing: Indexing, indices: npt.NDArray[np.int64] | None) -> Coupling | None:
    """How a window depends on the operand; `None` where no index is in bounds."""
    if 0 in indexing.operand or 0 in indexing.window:
        return Coupling.all(indexing.operand, indexing.window)
    whole = [
        (axis, place)
        for axis, place in zip(indexing.kept, indexing.offset_dims, strict=True)
        if indexing.sizes[axis] == indexing.operand[axis]
    ]
    partial = [
        (axis, place)
        for axis, place in zip(indexing.kept, indexing.offset_dims, strict=True)
        if indexing.sizes[axis] != indexing.operand[axis]
    ]
    rows = None if indices is None else _rows(indexing, indices, partial)
    if rows is None:
        return Coupling.matched(indexing.operand, indexing.window, [*whole, *indexing.batch_pairs])
    in_axes = (*indexing.operand_batch, *indexing.collapsed, *(axis for axis, _ in partial))
    out_axes = (*indexing.batch_axes, *(place for _, place in partial))
    if not in_axes:
        return Coupling.matched(indexing.operand, indexing.window, whole)
    return Coupling.table(indexing.operand, indexing.window, rows, in_axes, out_axes, whole)


def _rows(
    indexing: Indexing, indices: npt.NDArray[np.int64], partial: Sequence[tuple[int, int]]
) -> npt.NDArray[np.int64] | None:
    """For each batch and offset position, its flat position along the operand's indexed axes, -1 if it is dropped.

    `None` where they are too many.
    """
    batch = indices.shape[:-1]
    offsets = tuple(indexing.sizes[axis] for axis, _ in partial)
    if np.prod((*batch, *offsets), dtype=np.int64) > MAX_INDICES:
        return None
    shape = (*batch, *offsets)
    rows, inside = np.zeros(shape, np.int64), np.ones(shape, np.bool_)
    for axis, start in _starts_of(indexing, indices).items():
        last = indexing.operand[axis] - indexing.sizes[axis]
        inside &= _spread((start >= 0) & (start <= last), len(offsets)) | indexing.clips
        start = _spread(np.clip(start, 0, last), len(offsets))
        places = [axis for axis, _ in partial]
        if axis in places:
            along = [-1 if k == len(batch) + places.index(axis) else 1 for k in range(len(shape))]
            start = start + np.arange(indexing.sizes[axis]).reshape(along)
        if axis in (*indexing.operand_batch, *indexing.collapsed, *places):
            rows = rows * indexing.operand[axis] + start
    return np.where(inside, rows, -1).reshape(-1, 1)


def _starts_of(indexing: Indexing, indices: npt.NDArray[np.int64]) -> dict[int, npt.NDArray[np.int64]]:
    """Where windows start along the operand's axes: batching, then collapsed, then the kept ones."""
    batch = indices.shape[:-1]
    starts: dict[int, npt.NDArray[np.int64]] = {}
    for axis, place in zip(indexing.operand_batch, indexing.index_batch, strict=True):
        along = [-1 if k == place else 1 for k in range(len(batch))]
        starts[axis] = np.broadcast_to(np.arange(indexing.operand[axis]).reshape(along), batch)
    for axis in (*indexing.collapsed, *indexing.kept):
        mapped = axis in indexing.index_map
        starts[axis] = indices[..., indexing.index_map.index(axis)] if mapped else np.zeros(batch, np.int64)
    return starts


def _spread(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """The array with trailing axes of size one."""
    return np.reshape(array, (*array.shape, *(1,) * count))


SCATTERS = ["scatter", "scatter-add", "scatter-max", "scatter-min", "scatter-mul", "scatter-sub"]

RULES: dict[str, Rule] = {
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "gather": gather,
    **dict.fromkeys(SCATTERS, scatter),
}
