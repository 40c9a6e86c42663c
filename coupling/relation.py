"""Relations between two flat index spaces, the atoms of a coupling.

A relation says which indices of an input space `[0, n_in)` each index of an output space `[0, n_out)` depends on. It is
a tuple of *leaves*, read as a row-major product: the flat index of either space is the mixed-radix number whose digits
are the leaves' own indices. So `(Same(4), All(3, 3))` is block-diagonal with four dense blocks of three, at any size,
and reshapes never need an array. The empty tuple relates one index to one index.

Relations are kept canonical by `canonical`, which returns `None` for the empty relation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int32]
Runs: TypeAlias = tuple[tuple[int, int], ...]

FOLD_LIMIT = 64
"""A shift set times a trailing `Same` is written as one shift set up to this many shifts."""


@dataclass(frozen=True, slots=True)
class Same:
    """Output index `o` depends on input index `o`."""

    size: int

    @property
    def n_in(self) -> int:
        """Number of input indices."""
        return self.size

    @property
    def n_out(self) -> int:
        """Number of output indices."""
        return self.size


@dataclass(frozen=True, slots=True)
class All:
    """Every output index depends on every input index."""

    n_in: int
    n_out: int


@dataclass(frozen=True, slots=True)
class Shifts:
    """Output index `o` depends on input index `o + d` for each shift `d`; pairs out of range do not count.

    Shifts are held as sorted, disjoint, inclusive runs `(low, high)`, so that a band costs nothing at any width.
    """

    n_in: int
    n_out: int
    runs: Runs

    @classmethod
    def of(cls, n_in: int, n_out: int, shifts: Iterable[int]) -> Shifts:
        """The shifts given one by one."""
        return cls(n_in, n_out, merge_runs((d, d) for d in shifts))

    @property
    def count(self) -> int:
        """Number of shifts."""
        return sum(high - low + 1 for low, high in self.runs)

    @property
    def shifts(self) -> Iterator[int]:
        """Every shift, in order."""
        return (d for low, high in self.runs for d in range(low, high + 1))


@dataclass(frozen=True, slots=True)
class Table:
    """Output index `o` depends on the input indices in row `o` of a table, rows padded with -1.

    Rows are sorted without repetition, padding last, and at least one row is full. The table is held as the bytes of
    an int32 array in C order, so that equality and hashing cost one pass.
    """

    n_in: int
    n_out: int
    data: bytes

    @property
    def array(self) -> IntArray:
        """The table as a read-only array `[n_out, fan_in]`."""
        return np.frombuffer(self.data, np.int32).reshape(self.n_out, -1)


Leaf: TypeAlias = Same | Shifts | Table | All
Relation: TypeAlias = tuple[Leaf, ...]


def size_in(relation: Iterable[Leaf]) -> int:
    """Number of input indices of a relation."""
    return math.prod(leaf.n_in for leaf in relation)


def size_out(relation: Iterable[Leaf]) -> int:
    """Number of output indices of a relation."""
    return math.prod(leaf.n_out for leaf in relation)


def merge_runs(runs: Iterable[tuple[int, int]]) -> Runs:
    """Sorted, disjoint and non-adjacent inclusive runs that cover the same integers."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(run for run in runs if run[0] <= run[1]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def runs_of(values: npt.NDArray[np.integer]) -> Runs:
    """The runs that cover a sorted array of distinct integers."""
    if values.size == 0:
        return ()
    breaks = np.flatnonzero(np.diff(values) != 1)
    lows = values[np.concatenate([[0], breaks + 1])]
    highs = values[np.concatenate([breaks, [values.size - 1]])]
    return tuple((int(low), int(high)) for low, high in zip(lows, highs, strict=True))


def as_shifts(leaf: Leaf) -> Shifts | None:
    """A leaf as a shift set, where it is one."""
    match leaf:
        case Same(n):
            return Shifts(n, n, ((0, 0),))
        case All(n_in, n_out):
            return Shifts(n_in, n_out, ((1 - n_out, n_in - 1),))
        case Shifts():
            return leaf
        case Table():
            return None


def canonical(leaves: Iterable[Leaf]) -> Relation | None:
    """The canonical form of a product of leaves, `None` where some leaf relates nothing."""
    simple: list[Leaf] = []
    for leaf in leaves:
        reduced = simplify(leaf)
        if reduced is None:
            return None
        simple += split_all(reduced)
    merged: list[Leaf] = []
    for leaf in _inputs_first(simple):
        previous = _merge(merged[-1], leaf) if merged else None
        if previous is None:
            merged.append(leaf)
        else:
            merged[-1] = previous
    return tuple(merged)


def simplify(leaf: Leaf) -> Leaf | None:
    """One leaf in canonical form, `None` where it relates nothing."""
    if not isinstance(leaf, Shifts):
        return leaf
    lowest, highest = 1 - leaf.n_out, leaf.n_in - 1
    runs = merge_runs((max(low, lowest), min(high, highest)) for low, high in leaf.runs)
    if not runs:
        return None
    if runs == ((lowest, highest),):
        return All(leaf.n_in, leaf.n_out)
    if runs == ((0, 0),) and leaf.n_in == leaf.n_out:
        return Same(leaf.n_in)
    return Shifts(leaf.n_in, leaf.n_out, runs)


def split_all(leaf: Leaf) -> list[Leaf]:
    """A leaf as factors in which an `All` has inputs only or outputs only, and sizes of one have gone."""
    if isinstance(leaf, All):
        split = (All(leaf.n_in, 1), All(1, leaf.n_out))
        return [part for part in split if part.n_in * part.n_out > 1]
    return [] if isinstance(leaf, Same) and leaf.size == 1 else [leaf]


def _inputs_first(leaves: list[Leaf]) -> list[Leaf]:
    """The same product with inputs-only leaves moved before neighbouring outputs-only ones, which commute."""
    ordered: list[Leaf] = []
    for leaf in leaves:
        position = len(ordered)
        if leaf.n_out == 1:
            while position and ordered[position - 1].n_in == 1:
                position -= 1
        ordered.insert(position, leaf)
    return ordered


def _merge(left: Leaf, right: Leaf) -> Leaf | None:
    """One leaf that equals the product of two neighbours, if there is a canonical one."""
    match left, right:
        case Same(), Same():
            return Same(left.size * right.size)
        case All(), All():
            return All(left.n_in * right.n_in, left.n_out * right.n_out)
        case Shifts(), Same() if left.count <= FOLD_LIMIT:
            scaled = (shift * right.size for shift in left.shifts)
            return simplify(Shifts.of(left.n_in * right.size, left.n_out * right.size, scaled))
        case _:
            return None


def cut(leaf: Leaf, n_in: int, n_out: int) -> tuple[Leaf, Leaf] | None:
    """Two leaves whose product is `leaf`, the second one of size `n_in` by `n_out`; `None` if there are none."""
    if n_in < 1 or n_out < 1 or leaf.n_in % n_in or leaf.n_out % n_out:
        return None
    match leaf:
        case Same(n) if n_in == n_out:
            return Same(n // n_in), Same(n_in)
        case All():
            return All(leaf.n_in // n_in, leaf.n_out // n_out), All(n_in, n_out)
        case Shifts() if n_in == n_out and leaf.count <= FOLD_LIMIT and not any(d % n_in for d in leaf.shifts):
            lead = (d // n_in for d in leaf.shifts)
            return Shifts.of(leaf.n_in // n_in, leaf.n_out // n_in, lead), Same(n_in)
        case _:
            return None


def cut_relation(relation: Relation, n_in: int, n_out: int) -> tuple[Relation, Relation] | None:
    """Two relations whose product is `relation`, the second one of size `n_in` by `n_out`; `None` if there are none."""
    trail: list[Leaf] = []
    for position in reversed(range(len(relation))):
        if n_in == n_out == 1:
            return relation[: position + 1], tuple(trail)
        leaf = relation[position]
        if n_in % leaf.n_in == 0 and n_out % leaf.n_out == 0:
            trail.insert(0, leaf)
            n_in, n_out = n_in // leaf.n_in, n_out // leaf.n_out
            continue
        parts = cut(leaf, n_in, n_out)
        return None if parts is None else ((*relation[:position], parts[0]), (parts[1], *trail))
    return ((), tuple(trail)) if n_in == n_out == 1 else None
