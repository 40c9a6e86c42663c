"""Composition, union and transposition of relations.

Results are exact where they stay symbolic or fit a table, and otherwise too large, never too small.
"""

from __future__ import annotations

from itertools import product

import numpy as np

from .relation import (
    All,
    IntArray,
    Leaf,
    Relation,
    Same,
    Shifts,
    Table,
    as_shifts,
    canonical,
    cut,
    cut_relation,
    merge_runs,
    runs_of,
    size_in,
    size_out,
    split_all,
)
from .table import MAX_ENTRIES, MAX_FAN, from_table, invert, to_table

MAX_RUNS = 4096
"""A shift set computed from two others has at most this many pairs of runs."""

MAX_MERGED_FAN = 16
"""Factors of a union are merged into one table, to stay exact, up to this many inputs an output."""


def transpose(relation: Relation) -> Relation:
    """The same pairs with inputs and outputs exchanged."""
    leaves = canonical(leaf for part in relation for leaf in _transpose_leaf(part))
    assert leaves is not None
    return leaves


def _transpose_leaf(leaf: Leaf) -> Relation:
    match leaf:
        case Same():
            return (leaf,)
        case All(n_in, n_out):
            return (All(n_out, n_in),)
        case Shifts(n_in, n_out, runs):
            return (Shifts(n_out, n_in, tuple((-high, -low) for low, high in reversed(runs))),)
        case Table(n_in, n_out):
            rows = invert(leaf)
            inverse = None if rows is None else from_table(n_out, rows)
            return (All(n_out, n_in),) if inverse is None else inverse


def compose(outer: Relation, inner: Relation) -> Relation | None:
    """What the outputs of `outer` depend on when its inputs are the outputs of `inner`."""
    later = [part for leaf in outer for part in split_all(leaf)]
    earlier = [part for leaf in inner for part in split_all(leaf)]
    leaves: list[Leaf] = []
    while later or earlier:
        if later and later[-1].n_in == 1:
            leaves.insert(0, later.pop())
        elif earlier and earlier[-1].n_out == 1:
            leaves.insert(0, earlier.pop())
        else:
            part = _compose_last(later, earlier)
            if part is None:
                return None
            leaves[:0] = part
    return canonical(leaves)


def _compose_last(later: list[Leaf], earlier: list[Leaf]) -> Relation | None:
    """Take the shortest matching ends off both lists and compose them."""
    outer, inner = later[-1], earlier[-1]
    if outer.n_in > inner.n_out:
        parts = cut(outer, inner.n_out, 1 if isinstance(outer, All) else inner.n_out)
        if parts is not None:
            later[-1:] = parts
            outer = later[-1]
    elif outer.n_in < inner.n_out:
        parts = cut(inner, 1 if isinstance(inner, All) else outer.n_in, outer.n_in)
        if parts is not None:
            earlier[-1:] = parts
            inner = earlier[-1]
    if outer.n_in == inner.n_out:
        del later[-1], earlier[-1]
        return compose_leaves(outer, inner)
    return _compose_tables(*_matching_ends(later, earlier))


def _matching_ends(later: list[Leaf], earlier: list[Leaf]) -> tuple[Relation, Relation]:
    """Take the shortest ends whose middle sizes agree off both lists."""
    many, few, outer_size, inner_size = 1, 1, later[-1].n_in, earlier[-1].n_out
    while outer_size != inner_size:
        if outer_size < inner_size:
            many += 1
            outer_size *= later[-many].n_in
        else:
            few += 1
            inner_size *= earlier[-few].n_out
    ends = tuple(later[-many:]), tuple(earlier[-few:])
    del later[-many:], earlier[-few:]
    return ends


def compose_leaves(outer: Leaf, inner: Leaf) -> Relation | None:
    """Compose two leaves that agree on the middle space; an `All` among them has inputs only or outputs only."""
    match outer, inner:
        case Same(), _:
            return (inner,)
        case _, Same():
            return (outer,)
        case All(), All():
            return ()
        case All(), _:
            return _reached_inputs(inner)
        case _, All():
            reached = _reached_inputs(_transpose_leaf(outer)[0]) if isinstance(outer, Shifts) else _filled_rows(outer)
            return None if reached is None else transpose(reached)
        case Shifts(), Shifts():
            summed, exact = _sum_of_shifts(outer, inner)
            if exact:
                return canonical((summed,))
            rows = _compose_rows((outer,), (inner,))
            return canonical((summed,)) if rows is None else from_table(inner.n_in, rows)
        case _:
            return _compose_tables((outer,), (inner,))


def _reached_inputs(leaf: Leaf) -> Relation | None:
    """The inputs that any output of the leaf depends on, as a relation to a single output."""
    match leaf:
        case Shifts(n_in, n_out, runs):
            return canonical((Shifts(n_in, 1, merge_runs((low, high + n_out - 1) for low, high in runs)),))
        case Table(n_in):
            reached = np.unique(leaf.array)
            return canonical((Shifts(n_in, 1, runs_of(reached[reached >= 0])),))
        case _:
            return (All(leaf.n_in, 1),)


def _filled_rows(leaf: Leaf) -> Relation | None:
    """The outputs of a table that depend on any input, as a relation from them to a single index."""
    assert isinstance(leaf, Table)
    filled = np.flatnonzero(leaf.array[:, 0] >= 0)
    return canonical((Shifts(leaf.n_out, 1, runs_of(filled)),))


def _sum_of_shifts(outer: Shifts, inner: Shifts) -> tuple[Shifts, bool]:
    """The sums of both shift sets, and whether they are exact: whether the middle's bounds cut nothing off.

    A pair `(o, i)` whose shift lies in a sum of two runs passes through the middle if and only if
    `-h1 <= o <= m - 1 - l1` and `l2 <= i <= m - 1 + h2`.
    """
    n_in, n_out, middle = inner.n_in, outer.n_out, outer.n_in
    if len(outer.runs) * len(inner.runs) > MAX_RUNS:
        return Shifts(n_in, n_out, ((1 - n_out, n_in - 1),)), False
    runs: list[tuple[int, int]] = []
    exact = True
    for (low1, high1), (low2, high2) in product(outer.runs, inner.runs):
        low, high = low1 + low2, high1 + high2
        first, last = max(0, -high), min(n_out - 1, n_in - 1 - low)
        start, stop = max(0, low), min(n_in - 1, n_out - 1 + high)
        if first > last or start > stop:
            continue
        runs.append((low, high))
        exact &= -high1 <= first and last <= middle - 1 - low1 and low2 <= start and stop <= middle - 1 + high2
    return Shifts(n_in, n_out, merge_runs(runs)), exact


def _compose_rows(outer: Relation, inner: Relation) -> IntArray | None:
    """The composition as rows of input indices, `None` where they are too large."""
    later, earlier = to_table(outer), to_table(inner)
    if later is None or earlier is None or later.size * earlier.shape[1] > 4 * MAX_ENTRIES:
        return None
    rows = np.where(later[:, :, None] < 0, np.int32(-1), earlier[later])
    return rows.reshape(len(later), -1)


def _compose_tables(outer: Relation, inner: Relation) -> Relation | None:
    """Compose through tables; `All` where they are too large."""
    rows = _compose_rows(outer, inner)
    if rows is None:
        return canonical((All(size_in(inner), size_out(outer)),))
    return _limited(from_table(size_in(inner), rows))


def _limited(relation: Relation | None) -> Relation | None:
    """The relation, or `All` in its place where it holds a table with too many columns."""
    if relation is None or all(not isinstance(leaf, Table) or leaf.array.shape[1] <= MAX_FAN for leaf in relation):
        return relation
    return canonical((All(size_in(relation), size_out(relation)),))


def join(left: Relation, right: Relation) -> Relation:
    """The union of two relations between the same spaces."""
    if left == right:
        return left
    pairs = _align(left, right)
    joined = [join_aligned(*pair) for pair in pairs]
    different = [k for k, (a, b) in enumerate(pairs) if a != b]
    covered = all(j == a for j, (a, _) in zip(joined, pairs, strict=True)) or all(
        j == b for j, (_, b) in zip(joined, pairs, strict=True)
    )
    if len(different) > 1 and not covered:
        span = slice(different[0], different[-1] + 1)
        first = tuple(leaf for pair in pairs[span] for leaf in pair[0])
        second = tuple(leaf for pair in pairs[span] for leaf in pair[1])
        merged = _join_tables(first, second, MAX_MERGED_FAN)
        if merged is not None:
            joined[span] = [merged]
    leaves = canonical(leaf for part in joined for leaf in part)
    assert leaves is not None
    return leaves


def _align(left: Relation, right: Relation) -> list[tuple[Relation, Relation]]:
    """Both relations as products of parts of equal sizes, as many as possible."""
    pairs: list[tuple[Relation, Relation]] = []
    while left or right:
        found = _last_pair(left, right)
        if found is None:
            pairs.insert(0, (left, right))
            break
        (left, last_left), (right, last_right) = found
        pairs.insert(0, (last_left, last_right))
    return pairs


def _last_pair(left: Relation, right: Relation) -> tuple[tuple[Relation, Relation], tuple[Relation, Relation]] | None:
    """Both relations cut before the smallest last part on which they agree."""
    whole = size_in(left), size_out(left)
    sizes = sorted({*_last_sizes(left), *_last_sizes(right)}, key=lambda size: (size[0] * size[1], size))
    for n_in, n_out in sizes:
        if (n_in, n_out) == whole:
            continue
        cuts = cut_relation(left, n_in, n_out), cut_relation(right, n_in, n_out)
        if cuts[0] is not None and cuts[1] is not None:
            return cuts[0], cuts[1]
    return None


def _last_sizes(relation: Relation) -> list[tuple[int, int]]:
    """Sizes at which a relation can be cut between its leaves."""
    sizes: list[tuple[int, int]] = []
    n_in = n_out = 1
    parts = [part for leaf in relation for part in split_all(leaf)]
    for leaf in reversed(parts):
        n_in, n_out = n_in * leaf.n_in, n_out * leaf.n_out
        sizes.append((n_in, n_out))
        if leaf.n_out == 1 or leaf.n_in == 1:
            sizes.append((leaf.n_in, leaf.n_out))
    return sizes


def join_aligned(left: Relation, right: Relation) -> Relation:
    """The union of two parts of equal sizes that are not cut further."""
    if left == right:
        return left
    n_in, n_out = size_in(left), size_out(left)
    everything = canonical((All(n_in, n_out),))
    assert everything is not None
    if everything in (left, right):
        return everything
    if len(left) <= 1 and len(right) <= 1:
        first, second = (as_shifts(part[0]) if part else Shifts(1, 1, ((0, 0),)) for part in (left, right))
        if first is not None and second is not None:
            joined = canonical((Shifts(n_in, n_out, merge_runs((*first.runs, *second.runs))),))
            assert joined is not None
            return joined
    return _join_tables(left, right, MAX_FAN) or everything


def _join_tables(left: Relation, right: Relation, max_fan: int) -> Relation | None:
    """The union through tables, `None` where they are too large."""
    first, second = to_table(left, max_fan), to_table(right, max_fan)
    if first is None or second is None:
        return None
    return from_table(size_in(left), np.concatenate([first, second], axis=1))
