"""Colourings: which outputs can be probed together because they share no input.

Pulling back a mask of one colour gives, at each input position, one entry of the Jacobian. This is Curtis, Powell and
Reid's compression (1974), taken factor by factor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .blocks import Axes, Shape
from .relation import All, IntArray, Leaf, Relation, Same, Shifts, Table
from .table import invert

if TYPE_CHECKING:
    from .coupling import Coupling


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColourFactor:
    """A colour for each index of the flattened `out_axes`."""

    out_axes: Axes
    colours: IntArray
    count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Colours:
    """A colour for each output position: the tuple of its factors' colours. Axes in no factor make no difference."""

    out_shape: Shape
    factors: tuple[ColourFactor, ...]

    @property
    def count(self) -> int:
        """Number of colours."""
        return math.prod(factor.count for factor in self.factors)

    def array(self) -> IntArray:
        """The colour of each output position, an array of `out_shape` with values below `count`."""
        result: IntArray = np.zeros(self.out_shape, np.int32)
        for factor in self.factors:
            shape = [size if axis in factor.out_axes else 1 for axis, size in enumerate(self.out_shape)]
            part = factor.colours.reshape([self.out_shape[axis] for axis in factor.out_axes])
            result = result * np.int32(factor.count) + part.transpose(np.argsort(factor.out_axes)).reshape(shape)
        return result

    def masks(self) -> npt.NDArray[np.bool_]:
        """One mask a colour, `[count, *out_shape]`."""
        numbers = np.arange(self.count, dtype=np.int32).reshape(-1, *(1 for _ in self.out_shape))
        return self.array()[None] == numbers


def colours_of(coupling: Coupling, limit: int, *, repeats: bool = True) -> Colours | None:
    """A colouring by which outputs that share an input differ, `None` above `limit` colours."""
    factors: list[ColourFactor] = []
    for block in coupling.blocks:
        if block.is_broadcast and not repeats:
            continue
        found = _colour(block.relation, limit)
        if found is None:
            return None
        colours, count = found
        if count > 1:
            factors.append(ColourFactor(out_axes=block.out_axes, colours=colours, count=count))
            limit //= count
    return Colours(out_shape=coupling.out_shape, factors=tuple(factors))


def _colour(relation: Relation, limit: int) -> tuple[IntArray, int] | None:
    """Colours of a relation's outputs and their number."""
    colours: IntArray = np.zeros(1, np.int32)
    count = 1
    for leaf in relation:
        found = _colour_leaf(leaf, limit // count)
        if found is None:
            return None
        colours = (colours[:, None] * np.int32(found[1]) + found[0][None, :]).ravel()
        count *= found[1]
    return colours, count


def _colour_leaf(leaf: Leaf, limit: int) -> tuple[IntArray, int] | None:
    """Colours of one leaf's outputs and their number, `None` above `limit`."""
    match leaf:
        case Same(n):
            found = np.zeros(n, np.int32)
        case All(_, n_out):
            found = np.arange(n_out, dtype=np.int32) if n_out <= limit else None
        case Shifts():
            found = _colour_shifts(leaf, limit)
        case Table():
            found = _colour_table(leaf, limit)
    count = 0 if found is None else int(found.max(initial=0)) + 1
    return None if found is None or count > limit else (found, count)


def _colour_shifts(leaf: Shifts, limit: int) -> IntArray | None:
    """Colours by the remainder of `o // g`, where outputs that differ by no multiple of `g` share nothing."""
    if leaf.n_in == 1:
        colours = np.zeros(leaf.n_out, np.int32)
        if leaf.count > limit:
            return None
        fed = [-shift for shift in leaf.shifts]
        colours[fed] = np.arange(len(fed))
        return colours
    gaps = [(b[0] - a[1], b[1] - a[0]) for a, b in product(leaf.runs, leaf.runs)]
    step = 1
    if all(low == high for low, high in leaf.runs):
        step = math.gcd(*(low for low, _ in gaps if abs(low) < leaf.n_out)) or leaf.n_out
    for count in range(1, limit + 1):
        if not any(_has_multiple(low, high, count * step, leaf.n_out) for low, high in gaps):
            return ((np.arange(leaf.n_out) // step) % count).astype(np.int32)
    return None


def _has_multiple(low: int, high: int, period: int, bound: int) -> bool:
    """Whether the interval holds a positive multiple of the period below the bound; gaps come in both signs."""
    first = max(1, -(-low // period)) * period
    return first <= min(high, bound - 1)


def _colour_table(leaf: Table, limit: int) -> IntArray | None:
    """Greedy colours in order of position."""
    rows = leaf.array
    readers = invert(leaf)
    if readers is None or readers.shape[1] > limit:
        return None
    colours: IntArray = np.zeros(leaf.n_out, np.int32)
    if readers.shape[1] == 1:
        return colours
    for output, row in enumerate(rows):
        others = readers[row[row >= 0]]
        taken = set(colours[others[(others >= 0) & (others < output)]].tolist())
        colours[output] = next(colour for colour in range(len(taken) + 1) if colour not in taken)
    return colours
