"""Positions that a trace is followed to, slot by slot: which slot feeds which, in tables known before any step.

A *reach* is a coupling from a site's output positions to the state positions that they are followed to. Its slots are
the columns of `positions_of(reach)`. Axes of the output along which a table does not change have size one in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ...coupling import Coupling

Index = npt.NDArray[np.int64]


@lru_cache(maxsize=256)
def positions_of(coupling: Coupling) -> Index:
    """For each input position the flat output positions that it feeds, padded with -1: `[*input, slots]`. Read-only."""
    limit = max(16, math.prod(coupling.out_shape))
    targets = coupling.targets(limit=limit)
    if targets is not None:
        return _frozen(targets.positions())
    narrow, free = _without_free_axes(coupling)
    targets = narrow.targets(limit=limit) if narrow is not None else None
    if targets is not None:
        return _frozen(_over(free, targets.positions(), targets.out_shape, coupling.out_shape))
    fed = coupling.dense().reshape(math.prod(coupling.out_shape), math.prod(coupling.in_shape)).T
    slots = max(1, int(fed.sum(1).max(initial=1)))
    order = np.argsort(~fed, axis=1, kind="stable")[:, :slots]
    found = np.where(np.take_along_axis(fed, order, 1), order, -1)
    return _frozen(found.reshape(*coupling.in_shape, found.shape[1]))


def slots_at(coupling: Coupling) -> int:
    """The place of the slot axis among the axes of what a coupling's inputs have slot by slot.

    First, or where the outputs have it, if they have it and the inputs' axes as `Targets.slots_after` says.
    """
    targets = coupling.targets(limit=max(16, math.prod(coupling.out_shape)))
    return 0 if targets is None else targets.slots_after


def entries_shape(coupling: Coupling) -> tuple[int, ...]:
    """The shape of a Jacobian's entries: at each old position, the derivatives of the new ones that it feeds."""
    slots, at = positions_of(coupling).shape[-1], slots_at(coupling)
    own = coupling.in_shape
    return own if slots == 1 else (*own[:at], slots, *own[at:])


def _without_free_axes(coupling: Coupling) -> tuple[Coupling | None, tuple[int, ...]]:
    """The coupling with size one on each output axis that every input position feeds the whole of, and those axes."""
    tied = [block for block in coupling.blocks if not block.is_all]
    free = tuple(axis for block in coupling.blocks if block.is_all for axis in block.out_axes)
    shape = [1 if axis in free else size for axis, size in enumerate(coupling.out_shape)]
    return Coupling.of(coupling.in_shape, shape, tied), free


def _over(free: Sequence[int], table: Index, narrow: Sequence[int], shape: Sequence[int]) -> Index:
    """Flat positions in an array of shape `narrow`, as those in `shape`, once for each position on the `free` axes."""
    kept = np.ravel_multi_index(np.unravel_index(np.maximum(table, 0), narrow), shape)
    offsets = np.arange(math.prod(shape)).reshape(shape)
    offsets = offsets[tuple(slice(None) if axis in free else 0 for axis in range(len(shape)))].ravel()
    found = np.where(table[..., None] >= 0, kept[..., None] + offsets, math.prod(shape))
    found = found.reshape(*table.shape[:-1], -1)
    if table.shape[-1] > 1:
        found = np.sort(found, axis=-1)
    return np.where(found < math.prod(shape), found, -1)


@lru_cache(maxsize=256)
def links(reach: Coupling, coupling: Coupling, source: Coupling | None = None) -> Index:
    """What of a Jacobian leads from slot to slot: `[*output, new slot, old slot]`, indices of its entries.

    `coupling` says which new positions an old one feeds. Its entries are of `entries_shape`, flattened, the slots being
    the columns of `positions_of(coupling)`; -1 where a slot does not feed another one. Old slots are those of `source`,
    a reach too, where that is another one.
    """
    new, old = positions_of(reach), positions_of(source or reach)
    new, old = (collapsed(new), collapsed(old)) if source is not None else (collapsed(new),) * 2
    fed = positions_of(coupling)
    fed = fed.reshape(-1, fed.shape[-1])
    entry = np.arange(fed.size).reshape(entries_shape(coupling))
    entry = (np.moveaxis(entry, slots_at(coupling), -1) if fed.shape[1] > 1 else entry).reshape(fed.shape)
    shape = np.broadcast_shapes(new.shape[:-1], old.shape[:-1])
    found = np.full((*shape, new.shape[-1], old.shape[-1]), -1, np.int64)
    valid = (new >= 0)[..., :, None] & (old >= 0)[..., None, :]
    for target in range(fed.shape[1]):
        to = np.where(old >= 0, fed[np.maximum(old, 0), target], -1)
        hit = valid & (to[..., None, :] == new[..., :, None])
        found = np.where(hit, entry[np.maximum(old, 0), target][..., None, :], found)
    return _frozen(found)


FEW = 4
"""Where each slot is fed by so many at most, they are gathered; where by more, a matrix is multiplied."""


@lru_cache(maxsize=256)
def gathered(reach: Coupling, coupling: Coupling) -> tuple[Index, Index] | None:
    """Which few old slots feed each new one, `[new slot, few]`, and by which entries, `[*output, new slot, few]`.

    The slots are the same for every position of the output, as where all entries of a queue move on by one; None where
    they are not, or are many. Entries are as in `links`, -1 for none.
    """
    table = links(reach, coupling)
    feeding = (table >= 0).reshape(-1, *table.shape[-2:]).any(0)
    few = int(feeding.sum(-1).max(initial=0))
    if not few or few > FEW or table.shape[-1] <= FEW:
        return None
    old = np.argsort(~feeding, axis=-1, kind="stable")[:, :few]
    entries = np.take_along_axis(table, np.broadcast_to(old, (*table.shape[:-2], *old.shape)), -1)
    return _frozen(old), _frozen(entries)


@lru_cache(maxsize=256)
def places_in(reach: Coupling, part: Coupling) -> Index:
    """For each slot of `part` the slot of `reach` with the same position, `[part slots, *output]`; -1 for none."""
    own, wanted = positions_of(reach), positions_of(part)
    found = np.full(wanted.shape, -1, np.int64)
    for slot in range(own.shape[-1]):
        hit = (own[..., slot, None] == wanted) & (wanted >= 0)
        found = np.where(hit, slot, found)
    return _frozen(np.moveaxis(found, -1, 0))


def is_closed(reach: Coupling, couplings: Sequence[Coupling], source: Coupling | None = None) -> bool:
    """Whether every position that a followed one feeds is followed as well; one of `source`, where that is another."""
    every = dict.fromkeys(couplings)
    unsure = [c for c in every if source is not None or not _stays_within(reach, c)]
    own = positions_of(source or reach) if unsure else np.zeros(0, np.int64)
    for coupling in unsure:
        fed = (positions_of(coupling) >= 0).sum(-1).ravel()
        onward = np.where(own >= 0, fed[np.maximum(own, 0)], 0)
        kept = (links(reach, coupling, source) >= 0).sum(-2)
        if (kept != onward).any():
            return False
    return True


def _stays_within(reach: Coupling, coupling: Coupling) -> bool:
    """Whether what a coupling makes of a reach is plainly no more than the reach; no table is made."""
    further = coupling.compose(reach)
    return further is None or further == reach or reach.join(further) == reach


def covers(reach: Coupling, part: Coupling) -> bool:
    """Whether every position that `part` feeds is followed."""
    return bool(((places_in(reach, part) >= 0) == (np.moveaxis(positions_of(part), -1, 0) >= 0)).all())


def collapsed(table: Index) -> Index:
    """The table `[*output, slots]` with size one on each output axis along which it does not change."""
    for axis in range(table.ndim - 1):
        if table.shape[axis] > 1 and (table == table.take([0], axis)).all():
            table = table.take([0], axis)
    return table


def pick(array: Any, index: Index, lead: int = 0) -> Any:
    """`array[..., index]` of an array whose axes after the first `lead` are flattened, zero where the index is -1.

    Where the index only rearranges the array, so does this.
    """
    shape = array.shape[:lead]
    size = math.prod(array.shape[lead:])
    order = _rearrangement(index, size)
    if order is not None:
        sizes = [index.shape[axis] for axis in order]
        back = [lead + order.index(axis) for axis in range(index.ndim)]
        return array.reshape(*shape, *sizes).transpose(*range(lead), *back)
    taken = jnp.take(array.reshape(*shape, size), np.maximum(index, 0), axis=lead)
    return taken if (index >= 0).all() else jnp.where(index >= 0, taken, jnp.zeros((), taken.dtype))


def _rearrangement(index: Index, size: int) -> list[int] | None:
    """The order of the index's axes in which it counts from zero up to `size`; None where there is none."""
    if index.size != size or not size:
        return None
    strides = [int(index.take(1, axis).ravel()[0] - index.ravel()[0]) if index.shape[axis] > 1 else 0
               for axis in range(index.ndim)]  # fmt: skip
    order = sorted(range(index.ndim), key=lambda axis: (-strides[axis], axis))
    if any(stride < 0 for stride in strides):
        return None
    counted = np.arange(size).reshape([index.shape[axis] for axis in order])
    return order if np.array_equal(index.transpose(order), counted) else None


def _frozen(table: Any) -> Index:
    found: Index = np.ascontiguousarray(table, np.int64)
    found.flags.writeable = False
    return found
