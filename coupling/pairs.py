"""Composition, union, transposition and closure of couplings, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import algebra
from .blocks import Block, Shape, arranged, components, in_order, merge, single_axes
from .relation import Same, canonical, size_in
from .table import from_table, to_table

if TYPE_CHECKING:
    from .coupling import Coupling

MAX_ROUNDS = 64
"""A closure that has not settled after this many squarings couples everything."""


def _of(like: Coupling, in_shape: Shape, out_shape: Shape, blocks: list[Block]) -> Coupling | None:
    """A coupling made of blocks, by the class of an existing one."""
    return type(like).of(in_shape, out_shape, blocks)


def transpose(coupling: Coupling) -> Coupling:
    """The same pairs with inputs and outputs exchanged."""
    blocks = [Block(b.out_axes, b.in_axes, algebra.transpose(b.relation)) for b in coupling.blocks]
    transposed = _of(coupling, coupling.out_shape, coupling.in_shape, blocks)
    assert transposed is not None
    return transposed


def compose(outer: Coupling, inner: Coupling) -> Coupling | None:
    """What the outputs of `outer` depend on when its inputs are the outputs of `inner`."""
    if outer.in_shape != inner.out_shape:
        raise ValueError(f"cannot compose a coupling that reads {outer.in_shape} with one that gives {inner.out_shape}")
    if inner.is_identity:
        return outer
    if outer.is_identity:
        return inner
    if 0 in outer.in_shape:
        return None
    later = single_axes(outer.in_shape, outer.out_shape, outer.blocks)
    earlier = single_axes(inner.in_shape, inner.out_shape, inner.blocks)
    tied = [(block.in_axes, [k]) for k, block in enumerate(later)]
    tied += [(block.out_axes, [-1 - k]) for k, block in enumerate(earlier)]
    blocks: list[Block] = []
    for members in components(tied):
        part = _compose_component(
            outer, inner, [later[k] for k in members if k >= 0], [earlier[-1 - k] for k in members if k < 0]
        )
        if part is None:
            return None
        blocks.append(part)
    return _of(outer, inner.in_shape, outer.out_shape, blocks)


def _compose_component(outer: Coupling, inner: Coupling, later: list[Block], earlier: list[Block]) -> Block | None:
    """Compose the blocks that share middle axes."""
    if not later or not earlier:
        return (later or earlier)[0]
    middle = tuple(axis for block in later for axis in block.in_axes)
    if in_order(earlier, None, middle) is None:
        middle = tuple(axis for block in earlier for axis in block.out_axes)
    first = arranged(inner.in_shape, inner.out_shape, earlier, None, middle)
    second = arranged(outer.in_shape, outer.out_shape, later, middle, None)
    relation = algebra.compose(second.relation, first.relation)
    return None if relation is None else Block(first.in_axes, second.out_axes, relation)


def join(left: Coupling, right: Coupling) -> Coupling:
    """The union of both sets of pairs."""
    if (left.in_shape, left.out_shape) != (right.in_shape, right.out_shape):
        raise ValueError(
            f"cannot join a coupling of {left.out_shape} to {left.in_shape} "
            f"with one of {right.out_shape} to {right.in_shape}"
        )
    if left == right:
        return left
    shapes = left.in_shape, left.out_shape
    parts = _join_parts(shapes, single_axes(*shapes, left.blocks), single_axes(*shapes, right.blocks))
    joined = [Block(a.in_axes, a.out_axes, algebra.join(a.relation, b.relation)) for a, b in parts]
    if not _is_exact(parts, joined):
        joined = _join_merged(parts, joined)
    result = _of(left, *shapes, joined)
    assert result is not None
    return result


def _join_parts(shapes: tuple[Shape, Shape], left: list[Block], right: list[Block]) -> list[tuple[Block, Block]]:
    """Both sets of blocks merged until they agree on which axes belong together, and on their order."""
    rank = len(shapes[0])
    blocks = [*left, *right]
    tied = [({*b.in_axes, *(rank + axis for axis in b.out_axes)}, [k]) for k, b in enumerate(blocks)]
    parts: list[tuple[Block, Block]] = []
    for members in components(tied):
        ours = [blocks[k] for k in members if k < len(left)]
        theirs = [blocks[k] for k in members if k >= len(left)]
        parts.append(_same_order(shapes, ours, theirs))
    return parts


def _same_order(shapes: tuple[Shape, Shape], left: list[Block], right: list[Block]) -> tuple[Block, Block]:
    """Both products of blocks with the same axes in the same order."""
    for guide in (left, right):
        in_axes, out_axes = _natural(guide)
        ordered = in_order(left, in_axes, out_axes), in_order(right, in_axes, out_axes)
        if ordered[0] is not None and ordered[1] is not None:
            break
    else:
        in_axes, out_axes = _natural(left)
    pair = (arranged(*shapes, part, in_axes, out_axes) for part in (left, right))
    first, second = ((Block(b.in_axes, b.out_axes, canonical(b.relation) or ())) for b in pair)
    return first, second


def _natural(blocks: list[Block]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The order of axes that needs no rearrangement of these blocks, sorted as far as they allow."""
    ordered = sorted(blocks, key=lambda block: (min((*block.in_axes, *block.out_axes), default=0), block.out_axes))
    return (
        tuple(axis for block in ordered for axis in block.in_axes),
        tuple(axis for block in ordered for axis in block.out_axes),
    )


def _is_exact(parts: list[tuple[Block, Block]], joined: list[Block]) -> bool:
    """Whether the product of unions is the union of products."""
    different = sum(a.relation != b.relation for a, b in parts)
    pairs = list(zip(parts, joined, strict=True))
    contained = all(j.relation == a.relation for (a, _), j in pairs) or all(
        j.relation == b.relation for (_, b), j in pairs
    )
    return different <= 1 or contained


def _join_merged(parts: list[tuple[Block, Block]], joined: list[Block]) -> list[Block]:
    """The union with all parts that differ in one table; `joined` where that would be too large."""
    different = [pair for pair in parts if pair[0].relation != pair[1].relation]
    left, right = (merge([pair[side] for pair in different]) for side in (0, 1))
    tables = [to_table(part.relation, algebra.MAX_MERGED_FAN) for part in (left, right)]
    if tables[0] is None or tables[1] is None:
        return joined
    relation = from_table(size_in(left.relation), np.concatenate([tables[0], tables[1]], axis=1))
    assert relation is not None
    return [*(a for a, b in parts if a.relation == b.relation), Block(left.in_axes, left.out_axes, relation)]


def _check_square(coupling: Coupling) -> None:
    if coupling.in_shape != coupling.out_shape:
        raise ValueError(
            f"only a shape's coupling to itself has powers, not {coupling.out_shape} to {coupling.in_shape}"
        )


def closure(coupling: Coupling) -> Coupling:
    """The union of all powers from the first on."""
    _check_square(coupling)
    reached = coupling
    for _ in range(MAX_ROUNDS):
        further = compose(reached, reached)
        grown = reached if further is None else join(reached, further)
        if grown == reached:
            return reached
        reached = grown
    return type(coupling).all(coupling.in_shape, coupling.out_shape)


def power(coupling: Coupling, n: int) -> Coupling | None:
    """The coupling composed with itself `n` times; the identity for zero."""
    _check_square(coupling)
    if n < 0:
        raise ValueError(f"a coupling has no power {n}")
    result: Coupling | None = type(coupling).identity(coupling.in_shape)
    square: Coupling | None = coupling
    while n and result is not None and square is not None:
        if n % 2:
            result = compose(square, result)
        n //= 2
        square = compose(square, square) if n else square
    return None if square is None else result


def placed(
    coupling: Coupling, in_shape: Shape, out_shape: Shape, in_axes: Sequence[int], out_axes: Sequence[int]
) -> Coupling:
    """The same on some axes of larger shapes, whose other axes couple everything."""
    blocks = [
        Block(tuple(in_axes[a] for a in b.in_axes), tuple(out_axes[a] for a in b.out_axes), b.relation)
        for b in coupling.blocks
    ]
    result = _of(coupling, in_shape, out_shape, blocks)
    assert result is not None
    return result


def stacked(coupling: Coupling, in_size: int | None, out_size: int | None, *, same: bool) -> Coupling:
    """With a new first axis on either side: coupled to everything, or index by index if `same`."""
    step_in, step_out = int(in_size is not None), int(out_size is not None)
    in_shape = coupling.in_shape if in_size is None else (in_size, *coupling.in_shape)
    out_shape = coupling.out_shape if out_size is None else (out_size, *coupling.out_shape)
    in_axes, out_axes = range(step_in, len(in_shape)), range(step_out, len(out_shape))
    wide = placed(coupling, in_shape, out_shape, in_axes, out_axes)
    if not same or in_size is None or 0 in in_shape or 0 in out_shape:
        return wide
    result = _of(coupling, in_shape, out_shape, [*wide.blocks, Block((0,), (0,), (Same(in_size),))])
    assert result is not None
    return result
