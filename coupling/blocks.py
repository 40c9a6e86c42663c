"""Blocks: which axes a relation relates, and how blocks are split, merged and put in order.

A block relates the row-major flattening of some input axes, in the order given, to that of some output axes. Canonical
blocks are as small as they get, have no axis of size one, and leave everything that is `All` to a single block.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .relation import All, Relation, Same, canonical, cut_relation
from .table import reorder

Shape: TypeAlias = tuple[int, ...]
Axes: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """The output axes `out_axes`, flattened, depend on the input axes `in_axes`, flattened, by `relation`."""

    in_axes: Axes
    out_axes: Axes
    relation: Relation

    @property
    def is_same(self) -> bool:
        """Whether both flattenings are equal index by index."""
        return len(self.relation) == 1 and isinstance(self.relation[0], Same)

    @property
    def is_all(self) -> bool:
        """Whether every output depends on every input."""
        return len(self.relation) == 1 and isinstance(self.relation[0], All)

    @property
    def is_broadcast(self) -> bool:
        """Whether one input is repeated along every output."""
        return self.is_all and not self.in_axes


def sizes(shape: Shape, axes: Axes) -> Shape:
    """The sizes of some axes."""
    return tuple(shape[axis] for axis in axes)


def canonical_blocks(in_shape: Shape, out_shape: Shape, blocks: Iterable[Block]) -> tuple[Block, ...] | None:
    """Canonical blocks for the same pairs; `None` where there are none. Axes that no block has become `All`."""
    if 0 in in_shape or 0 in out_shape:
        return ()
    split: list[Block] = []
    for block in blocks:
        relation = canonical(block.relation)
        if relation is None:
            return None
        in_axes = tuple(axis for axis in block.in_axes if in_shape[axis] != 1)
        out_axes = tuple(axis for axis in block.out_axes if out_shape[axis] != 1)
        split += _split(in_shape, out_shape, Block(in_axes, out_axes, relation))
    kept = [block for block in split if block.relation and not block.is_all]
    kept.sort(key=lambda block: (block.out_axes, block.in_axes))
    return (*kept, *_rest(in_shape, out_shape, kept))


def _rest(in_shape: Shape, out_shape: Shape, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """The block of all axes that `blocks` leave over, if there are any."""
    used_in = {axis for block in blocks for axis in block.in_axes}
    used_out = {axis for block in blocks for axis in block.out_axes}
    in_axes = tuple(axis for axis, size in enumerate(in_shape) if size != 1 and axis not in used_in)
    out_axes = tuple(axis for axis, size in enumerate(out_shape) if size != 1 and axis not in used_out)
    if not in_axes and not out_axes:
        return ()
    everything = All(math.prod(sizes(in_shape, in_axes)), math.prod(sizes(out_shape, out_axes)))
    return (Block(in_axes, out_axes, (everything,)),)


def _split(in_shape: Shape, out_shape: Shape, block: Block) -> list[Block]:
    """The smallest blocks whose product is the given one."""
    done: list[Block] = []
    while (parts := _split_last(in_shape, out_shape, block)) is not None:
        block, last = parts
        done.append(last)
    return [block, *done]


def _split_last(in_shape: Shape, out_shape: Shape, block: Block) -> tuple[Block, Block] | None:
    """The block in two, the second one of as few last axes as possible."""
    rank_in, rank_out = len(block.in_axes), len(block.out_axes)
    counts = [(i, o) for i in range(rank_in + 1) for o in range(rank_out + 1) if 0 < i + o < rank_in + rank_out]
    for many_in, many_out in sorted(counts, key=lambda count: (sum(count), count)):
        keep_in, keep_out = rank_in - many_in, rank_out - many_out
        last_in, last_out = block.in_axes[keep_in:], block.out_axes[keep_out:]
        n_in, n_out = math.prod(sizes(in_shape, last_in)), math.prod(sizes(out_shape, last_out))
        parts = cut_relation(block.relation, n_in, n_out)
        first, last = (None, None) if parts is None else (canonical(parts[0]), canonical(parts[1]))
        if first is not None and last is not None:
            return Block(block.in_axes[:keep_in], block.out_axes[:keep_out], first), Block(last_in, last_out, last)
    return None


def single_axes(in_shape: Shape, out_shape: Shape, blocks: Iterable[Block]) -> list[Block]:
    """The same blocks with `All` taken apart axis by axis, so that it ties no axes together."""
    single: list[Block] = []
    for block in blocks:
        if block.is_all:
            single += [Block((axis,), (), (All(in_shape[axis], 1),)) for axis in block.in_axes]
            single += [Block((), (axis,), (All(1, out_shape[axis]),)) for axis in block.out_axes]
        else:
            single.append(block)
    return single


def in_order(blocks: Sequence[Block], in_axes: Axes | None, out_axes: Axes | None) -> list[Block] | None:
    """The blocks in an order in which their axes read as the given ones; `None` if there is none.

    `None` for the axes of one side leaves that side's order free.
    """
    waiting = list(blocks)
    ordered: list[Block] = []
    position_in = position_out = 0
    while waiting:
        for block in waiting:
            end_in, end_out = position_in + len(block.in_axes), position_out + len(block.out_axes)
            fits_in = in_axes is None or in_axes[position_in:end_in] == block.in_axes
            fits_out = out_axes is None or out_axes[position_out:end_out] == block.out_axes
            if fits_in and fits_out:
                break
        else:
            return None
        waiting.remove(block)
        ordered.append(block)
        position_in, position_out = end_in, end_out
    return ordered


def merge(blocks: Sequence[Block]) -> Block:
    """One block that is the product of the given ones, its axes in their order."""
    return Block(
        tuple(axis for block in blocks for axis in block.in_axes),
        tuple(axis for block in blocks for axis in block.out_axes),
        tuple(leaf for block in blocks for leaf in block.relation),
    )


def arranged(
    in_shape: Shape, out_shape: Shape, blocks: Sequence[Block], in_axes: Axes | None, out_axes: Axes | None
) -> Block:
    """One block that is the product of the given ones, with its axes in the given order, through a table if need be."""
    ordered = in_order(blocks, in_axes, out_axes)
    if ordered is not None:
        return merge(ordered)
    merged = merge(blocks)
    wanted_in = merged.in_axes if in_axes is None else in_axes
    wanted_out = merged.out_axes if out_axes is None else out_axes
    relation = canonical(merged.relation)
    assert relation is not None
    moved = reorder(
        relation,
        sizes(in_shape, merged.in_axes),
        [merged.in_axes.index(axis) for axis in wanted_in],
        sizes(out_shape, merged.out_axes),
        [merged.out_axes.index(axis) for axis in wanted_out],
    )
    assert moved is not None
    return Block(wanted_in, wanted_out, moved)


def components(groups: Iterable[tuple[Iterable[int], Sequence[int]]]) -> list[list[int]]:
    """Connected components: each item is `(keys, [item numbers])`, items that share a key belong together."""
    parts: list[tuple[set[int], list[int]]] = []
    for keys, members in groups:
        joined_keys, joined_members = set(keys), list(members)
        apart: list[tuple[set[int], list[int]]] = []
        for part in parts:
            if part[0] & joined_keys:
                joined_keys |= part[0]
                joined_members += part[1]
            else:
                apart.append(part)
        parts = [*apart, (joined_keys, joined_members)]
    return [sorted(members) for _, members in parts]
