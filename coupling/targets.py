"""Where each input position goes: gather maps from a coupling's outputs onto its inputs."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from . import measure
from .algebra import transpose
from .blocks import Axes, Block, Shape, sizes
from .limits import SPREAD
from .relation import IntArray, Relation, Table
from .table import clean, invert, to_table

if TYPE_CHECKING:
    from .coupling import Coupling


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetFactor:
    """The flattened `in_axes` feed the flattened `out_axes` by the rows of `table`."""

    in_axes: Axes
    out_axes: Axes
    table: IntArray | None
    """Output indices `[n_in, slots]`, padded with -1; `None` where input index `i` feeds output index `i` alone."""
    broadcast: bool = False
    """Whether one input is repeated along every output."""

    @property
    def slots(self) -> int:
        """How many output indices an input index has room for."""
        return 1 if self.table is None else self.table.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """For each input position the output positions that it feeds, as a product of factors.

    Every axis of size other than one is in exactly one factor, those that an input is repeated along in factors of
    their own. A slot of the whole is a slot of each factor, the last
    factor's running fastest.
    """

    in_shape: Shape
    out_shape: Shape
    factors: tuple[TargetFactor, ...]

    @property
    def slots(self) -> int:
        """How many output positions an input position has room for."""
        return math.prod(factor.slots for factor in self.factors)

    @property
    def is_identity(self) -> bool:
        """Whether each input position feeds the output position of the same index alone."""
        return self.in_shape == self.out_shape and all(
            factor.table is None and factor.in_axes == factor.out_axes for factor in self.factors
        )

    @property
    def slots_after(self) -> int:
        """After how many input axes the slots stand where all lie as the output's axes do; zero where they do not so.

        They do where the output's axes are those of the input, in order, and, side by side, those of the slots.
        """
        axes = self.input_axes()
        along = [axes.get(axis) for axis, size in enumerate(self.out_shape) if size > 1] if axes else []
        runs = [axis for axis, _ in itertools.groupby(along)]
        own = [axis for axis in runs if axis is not None]
        if runs.count(None) != 1 or own != sorted(set(own)):
            return 0
        before = own[: runs.index(None)]
        return before[-1] + 1 if before else 0

    def input_axes(self) -> dict[int, int | None]:
        """For each output axis the input axis that lies along it, or along it and others; None for one of the slots.

        Nothing where the slots are of a table, or axes of the input are cut.
        """
        found: dict[int, int | None] = {}
        for factor in self.factors:
            own, onto = factor.in_axes, factor.out_axes
            if factor.broadcast:
                found |= dict.fromkeys(onto)
            elif factor.table is None and len(own) == 1:
                found |= dict.fromkeys(onto, own[0])
            elif factor.table is None and sizes(self.in_shape, own) == sizes(self.out_shape, onto):
                found |= dict(zip(onto, own, strict=True))
            else:
                return {}
        return found

    def gather(self, values: Any, fill: float = 0) -> Any:
        """Values at the output positions, brought to the input positions.

        Args:
            values: array `[..., *out_shape]`, of NumPy or of JAX; the result is one of the same.
            fill: what a slot without an output position gets.

        Returns:
            Array `[..., *in_shape, slots]`.
        """
        lead = values.shape[: values.ndim - len(self.out_shape)]
        if self.is_identity:
            return values[..., None]
        order = [len(lead) + axis for factor in self.factors for axis in factor.out_axes]
        ones = [len(lead) + axis for axis in range(len(self.out_shape)) if len(lead) + axis not in order]
        flat = [math.prod(sizes(self.out_shape, factor.out_axes)) for factor in self.factors]
        values = values.transpose((*range(len(lead)), *order, *ones)).reshape((*lead, *flat))
        for k, factor in enumerate(self.factors):
            values = _pick(values, len(lead) + k, factor, fill)
        return self._unflatten(values, len(lead))

    def valid(self) -> npt.NDArray[np.bool_]:
        """Which slots hold an output position, `[*in_shape, slots]`."""
        return self.positions() >= 0

    def positions(self) -> npt.NDArray[np.int64]:
        """The flat output position in each slot, -1 where there is none, `[*in_shape, slots]`."""
        return self.gather(np.arange(math.prod(self.out_shape)).reshape(self.out_shape), -1)

    def _unflatten(self, values: Any, lead: int) -> Any:
        """From `[*lead, n_1, ..., n_k, slots_k, ..., slots_1]` to `[*lead, *in_shape, slots]`."""
        count = len(self.factors)
        slots = [2 * count + lead - 1 - k for k in range(count)]
        values = values.transpose((*range(lead + count), *slots))
        axes = [axis for factor in self.factors for axis in factor.in_axes]
        values = values.reshape((*values.shape[:lead], *sizes(self.in_shape, tuple(axes)), self.slots))
        places = [lead + axes.index(axis) for axis in sorted(axes)]
        values = values.transpose((*range(lead), *places, lead + len(axes)))
        return values.reshape((*values.shape[:lead], *self.in_shape, self.slots))


def _pick(values: Any, axis: int, factor: TargetFactor, fill: float) -> Any:
    """Replace an axis by the factor's inputs, and put its slots last."""
    if factor.broadcast:
        xp: Any = np if isinstance(values, np.ndarray) else jnp
        return xp.expand_dims(xp.moveaxis(values, axis, -1), axis)
    if factor.table is None:
        return values[..., None]
    xp: Any = np if isinstance(values, np.ndarray) else jnp
    places = factor.table >= 0
    picked = _repeated(values, axis, factor.table, xp)
    if picked is None:
        picked = xp.moveaxis(xp.take(values, np.maximum(factor.table, 0), axis=axis, mode="clip"), axis + 1, -1)
    if places.all():
        return picked
    shape = [1] * picked.ndim
    shape[axis], shape[-1] = factor.table.shape
    return xp.where(places.reshape(shape), picked, xp.asarray(fill, picked.dtype))


def _repeated(values: Any, axis: int, table: IntArray, xp: Any) -> Any:
    """One slot that goes through an axis over and over, as the gates of a cell do, without a gather; else None.

    A gather is a kernel of its own to a compiler, what repeats an array is none.
    """
    count, size = table.shape[0], values.shape[axis]
    over = np.arange(count, dtype=table.dtype) % max(size, 1)
    if table.shape[1] != 1 or not size or count % size or not ((table[:, 0] < 0) | (table[:, 0] == over)).all():
        return None
    wide = (*values.shape[:axis], count // size, *values.shape[axis:])
    return xp.broadcast_to(xp.expand_dims(values, axis), wide).reshape(
        (*values.shape[:axis], count, *values.shape[axis + 1 :], 1)
    )


def targets_of(coupling: Coupling, limit: int) -> Targets | None:
    """The targets of each input position, `None` for more than `limit` of them or where many feed many."""
    if coupling.mixes and coupling.spread > SPREAD:
        return None
    factors: list[TargetFactor] = []
    room = limit
    for block in coupling.blocks:
        slots = measure.fan_out(block.relation)
        if slots > room:
            return None
        room //= max(1, slots)
        factor = _factor(block)
        if factor is None:
            return None
        factors.append(factor)
    return Targets(in_shape=coupling.in_shape, out_shape=coupling.out_shape, factors=tuple(factors))


@functools.lru_cache(maxsize=64)
def _factor(block: Block) -> TargetFactor | None:
    """One block's targets, `None` where its table would be too large."""
    if block.is_same:
        return TargetFactor(in_axes=block.in_axes, out_axes=block.out_axes, table=None)
    if block.is_broadcast:
        every = np.arange(measure.fan_out(block.relation), dtype=np.int32)[None]
        return TargetFactor(in_axes=(), out_axes=block.out_axes, table=every, broadcast=True)
    rows = _transposed(block.relation)
    if rows is None:
        return None
    rows.flags.writeable = False
    return TargetFactor(in_axes=block.in_axes, out_axes=block.out_axes, table=rows)


def _transposed(relation: Relation) -> IntArray | None:
    """The output indices that each input index feeds; one table is turned over without a look for a simpler form."""
    if len(relation) == 1 and isinstance(relation[0], Table):
        return invert(relation[0])
    rows = to_table(transpose(relation))
    return None if rows is None else clean(rows)
