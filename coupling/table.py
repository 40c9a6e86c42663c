"""Relations as arrays of input indices, for what has no symbolic form."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .relation import All, IntArray, Leaf, Relation, Same, Shifts, Table, runs_of, simplify, size_in

MAX_ENTRIES = 2**24
"""A table holds at most this many entries; beyond it a relation becomes `All`."""

MAX_FAN = 256
"""A table that is derived, not given, has at most this many inputs an output."""


def to_table(relation: Relation, max_fan: int = MAX_FAN) -> IntArray | None:
    """The relation as `[n_out, fan_in]` input indices padded with -1, or `None` where that is too large."""
    table: IntArray = np.zeros((1, 1), np.int32)
    for leaf in relation:
        rows = _leaf_table(leaf, max_fan)
        if rows is None or not fits(len(table) * len(rows), table.shape[1] * rows.shape[1], max_fan):
            return None
        joint = table[:, None, :, None] * np.int32(leaf.n_in) + rows[None, :, None, :]
        joint[np.broadcast_to((table < 0)[:, None, :, None] | (rows < 0)[None, :, None, :], joint.shape)] = -1
        table = joint.reshape(len(table) * len(rows), -1)
    return table


def fits(n_out: int, fan: int, max_fan: int = MAX_FAN) -> bool:
    """Whether a derived table of this size is allowed."""
    return fan <= max_fan and n_out * fan <= MAX_ENTRIES


def _leaf_table(leaf: Leaf, max_fan: int) -> IntArray | None:
    """One leaf's table, not cleaned of repetitions or interleaved padding."""
    match leaf:
        case Same(n):
            return np.arange(n, dtype=np.int32)[:, None] if fits(n, 1) else None
        case All(n_in, n_out):
            return np.tile(np.arange(n_in, dtype=np.int32), (n_out, 1)) if fits(n_out, n_in, max_fan) else None
        case Shifts():
            return _shifts_table(leaf, max_fan)
        case Table():
            return leaf.array


def _shifts_table(leaf: Shifts, max_fan: int) -> IntArray | None:
    """The table of a shift set, one column a shift."""
    if leaf.n_out == 1:
        rows = np.fromiter((d for d in leaf.shifts), np.int32)[None, :]
        return rows if fits(1, rows.shape[1], max_fan) else None
    if leaf.n_in == 1:
        rows = np.full((leaf.n_out, 1), -1, np.int32)
        rows[[-d for d in leaf.shifts]] = 0
        return rows
    if not fits(leaf.n_out, leaf.count, max_fan):
        return None
    rows = np.arange(leaf.n_out, dtype=np.int32)[:, None] + np.fromiter(leaf.shifts, np.int32)[None, :]
    return np.where((rows >= 0) & (rows < leaf.n_in), rows, np.int32(-1))


def from_table(n_in: int, rows: npt.NDArray[np.integer]) -> Relation | None:
    """The simplest relation with the given rows of input indices, negative ones ignored; `None` where all are."""
    rows = clean(rows)
    if rows.shape[1] == 0:
        return None
    n_out = len(rows)
    simple = _as_shifts(n_in, rows)
    if simple is not None:
        return (simple,)
    lead = _leading_copies(n_in, rows)
    if lead > 1:
        rest = from_table(n_in // lead, rows[: n_out // lead])
        return None if rest is None else (Same(lead), *rest)
    trail = _trailing_copies(n_in, rows)
    if trail > 1:
        rest = from_table(n_in // trail, np.where(rows[::trail] < 0, -1, rows[::trail] // trail))
        return None if rest is None else (*rest, Same(trail))
    if rows.size > MAX_ENTRIES:
        return (All(n_in, n_out),)
    return (Table(n_in, n_out, rows.tobytes()),)


def clean(rows: npt.NDArray[np.integer]) -> IntArray:
    """The same rows, each sorted without repetition, with the padding last and no column of padding alone."""
    last = np.iinfo(np.int32).max
    rows = np.sort(np.where(rows < 0, last, rows).astype(np.int32), axis=1)
    if rows.shape[1] > 1:
        repeated = rows[:, 1:] == rows[:, :-1]
        if np.any(repeated & (rows[:, 1:] != last)):
            rows[:, 1:][repeated] = last
            rows = np.sort(rows, axis=1)
    fan = int((rows != last).sum(axis=1).max(initial=0))
    return np.ascontiguousarray(np.where(rows == last, -1, rows)[:, :fan], np.int32)


def _as_shifts(n_in: int, rows: IntArray) -> Leaf | None:
    """The shift set with these rows, if there is one."""
    n_out = len(rows)
    if not (_share_shifts(n_in, rows, 0) and _share_shifts(n_in, rows, n_out // 2)):
        return None
    present = np.zeros(n_in + n_out, np.bool_)
    present[(rows - np.arange(n_out, dtype=np.int32)[:, None])[rows >= 0] + n_out] = True
    shifts = np.flatnonzero(present) - n_out
    pairs = np.minimum(n_out, n_in - shifts) - np.maximum(0, -shifts)
    if int(pairs.sum()) != int((rows >= 0).sum()):
        return None
    return simplify(Shifts(n_in, n_out, runs_of(shifts)))


def _share_shifts(n_in: int, rows: IntArray, at: int) -> bool:
    """Whether a row and the next one have the same shifts, as far as these lead to an input from both."""
    pair = [frozenset((row[row >= 0] - o).tolist()) for o, row in enumerate(rows[at : at + 2], at)]
    return len(pair) < 2 or all(at + d < 0 or at + 1 + d >= n_in for d in pair[0] ^ pair[1])


def _divisors(n: int) -> list[int]:
    """The divisors of `n` from the largest to two."""
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)} - {1}, reverse=True)


def _leading_copies(n_in: int, rows: IntArray) -> int:
    """The largest number of equal diagonal blocks that the rows consist of."""
    for copies in _divisors(math.gcd(n_in, len(rows))):
        step, height = n_in // copies, len(rows) // copies
        if not np.array_equal(rows[height], np.where(rows[0] < 0, -1, rows[0] + step)):
            continue
        stack = rows.reshape(copies, height, -1)
        offsets = (np.arange(copies, dtype=np.int32) * np.int32(step))[:, None, None]
        if np.array_equal(stack, np.where(stack[:1] < 0, -1, stack[:1] + offsets)):
            return copies
    return 1


def _trailing_copies(n_in: int, rows: IntArray) -> int:
    """The largest `q` such that the rows are a table of rows of `q`, each row moved whole."""
    for size in _divisors(math.gcd(n_in, len(rows))):
        if not np.array_equal(rows[1], np.where(rows[0] < 0, -1, rows[0] + 1)):
            return 1
        stack = rows.reshape(len(rows) // size, size, -1)
        base = stack[:, :1]
        offsets = np.arange(size, dtype=np.int32)[None, :, None]
        if not np.any((base % size)[base >= 0]) and np.array_equal(stack, np.where(base < 0, -1, base + offsets)):
            return size
    return 1


@functools.lru_cache(maxsize=16)
def invert(leaf: Table) -> IntArray | None:
    """The rows of the transposed table, `[n_in, fan_out]`, read-only; `None` where they are too many."""
    n_in, rows = leaf.n_in, leaf.array
    outputs, columns = np.nonzero(rows >= 0)
    inputs = rows[outputs, columns]
    counts = np.bincount(inputs, minlength=n_in)
    fan = int(counts.max(initial=0))
    if n_in * fan > MAX_ENTRIES:
        return None
    table: IntArray = np.full((n_in, fan), -1, np.int32)
    if fan == 1:
        table[inputs, 0] = outputs
    else:
        order = np.argsort(inputs, kind="stable")
        slots = np.arange(len(inputs)) - np.repeat(np.cumsum(counts) - counts, counts)
        table[inputs[order], slots] = outputs[order]
    table.flags.writeable = False
    return table


def reorder(
    relation: Relation,
    in_sizes: Sequence[int],
    in_order: Sequence[int],
    out_sizes: Sequence[int],
    out_order: Sequence[int],
) -> Relation | None:
    """The relation when digits of either space are permuted: new digit `k` is old digit `order[k]`.

    It must relate something. Becomes `All` where it has no symbolic form and a table would be too large.
    """
    n_in = size_in(relation)
    rows = to_table(relation)
    if rows is None:
        return (All(n_in, math.prod(out_sizes)),)
    rows = rows.reshape(*out_sizes, -1).transpose(*out_order, len(out_sizes)).reshape(len(rows), -1)
    moved = np.empty(n_in + 1, np.int32)
    moved[np.arange(n_in).reshape(tuple(in_sizes)).transpose(tuple(in_order)).ravel()] = np.arange(n_in, dtype=np.int32)
    moved[-1] = -1
    return from_table(n_in, moved[rows])
