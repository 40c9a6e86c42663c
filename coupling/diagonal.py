"""Whether a coupling of a shape to itself holds positions to themselves, and to others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .blocks import Block, arranged, components, single_axes
from .relation import All, Leaf, Relation, Same, Shifts, Table
from .table import to_table

if TYPE_CHECKING:
    from .coupling import Coupling


def parts(coupling: Coupling) -> tuple[bool, bool]:
    """Whether there may be pairs of a position with itself, and of a position with another one.

    Exact except where blocks permute axes and are too large for a table: then both are assumed.
    """
    if coupling.in_shape != coupling.out_shape:
        raise ValueError(f"{coupling.out_shape} and {coupling.in_shape} have no common diagonal: shapes differ")
    if 0 in coupling.in_shape:
        return False, False
    blocks = single_axes(coupling.in_shape, coupling.out_shape, coupling.blocks)
    diagonal, off = True, False
    for members in components([((*b.in_axes, *b.out_axes), [k]) for k, b in enumerate(blocks)]):
        found = _component(coupling, [blocks[k] for k in members])
        diagonal, off = diagonal and found[0], off or found[1]
    return diagonal, off


def _component(coupling: Coupling, blocks: Sequence[Block]) -> tuple[bool, bool]:
    """The same for the blocks that relate a set of axes to itself."""
    if all(block.is_all for block in blocks):
        return True, True
    axes = tuple(axis for block in blocks for axis in block.in_axes)
    relation = arranged(coupling.in_shape, coupling.out_shape, blocks, axes, axes).relation
    return _relation(relation)


def _relation(relation: Relation) -> tuple[bool, bool]:
    """The same for a relation between two flat spaces of one size."""
    if all(leaf.n_in == leaf.n_out for leaf in relation):
        found = [_leaf(leaf) for leaf in relation]
        return all(diagonal for diagonal, _ in found), any(off for _, off in found)
    rows = to_table(relation)
    return (True, True) if rows is None else _rows(rows)


def _leaf(leaf: Leaf) -> tuple[bool, bool]:
    match leaf:
        case Same():
            return True, False
        case All(n_in):
            return True, n_in > 1
        case Shifts(_, _, runs):
            return any(low <= 0 <= high for low, high in runs), runs != ((0, 0),)
        case Table():
            return _rows(leaf.array)


def _rows(rows: np.ndarray) -> tuple[bool, bool]:
    """The same for a table."""
    own = rows == np.arange(len(rows), dtype=np.int32)[:, None]
    return bool(own.any()), bool(((rows >= 0) & ~own).any())
