"""Matrices of couplings: from several inputs to several outputs at once, `None` where there is no dependence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .. import Coupling
from .context import Couplings


def union(couplings: Iterable[Coupling | None]) -> Coupling | None:
    """The union of some couplings between the same shapes."""
    result: Coupling | None = None
    for coupling in couplings:
        if coupling is not None and coupling is not result:
            result = coupling if result is None else result.join(coupling)
    return result


def join(left: Couplings, right: Couplings) -> Couplings:
    """Entry by entry, the union."""
    rows = zip(left, right, strict=True)
    return [[union(pair) for pair in zip(first, second, strict=True)] for first, second in rows]


def compose(outer: Couplings, inner: Couplings, width: int) -> Couplings:
    """`outer` on the outputs of `inner`, which has `width` inputs."""
    columns = list(zip(*inner, strict=True)) if inner else [()] * width
    return [[union(_paths(row, column)) for column in columns] for row in outer]


def _paths(row: Sequence[Coupling | None], column: Sequence[Coupling | None]) -> Iterator[Coupling | None]:
    for outer, inner in zip(row, column, strict=True):
        if outer is not None and inner is not None:
            yield outer.compose(inner)


def identity(shapes: Sequence[tuple[int, ...]]) -> Couplings:
    """Each input is an output."""
    width = range(len(shapes))
    return [
        [Coupling.identity(shape) if column == row else None for column in width] for row, shape in enumerate(shapes)
    ]


def power(square: Couplings, n: int) -> Couplings:
    """`square` composed with itself `n >= 1` times, by squaring; a square that has settled is not squared again."""
    result: Couplings | None = None
    while n:
        if n % 2:
            result = square if result is None else compose(square, result, len(square))
        n //= 2
        if n:
            squared = compose(square, square, len(square))
            n = 1 if squared == square else n
            square = squared
    assert result is not None or not square
    return result or square


def columns(matrix: Couplings, start: int, stop: int | None) -> Couplings:
    """Some neighbouring columns."""
    return [list(row[start:stop]) for row in matrix]


def beside(*matrices: Couplings) -> Couplings:
    """Matrices with equal numbers of rows, side by side."""
    return [[entry for row in rows for entry in row] for rows in zip(*matrices, strict=True)]


def stacked(matrix: Couplings, in_size: int | None, out_size: int | None, *, same: bool = False) -> Couplings:
    """Every entry with a new first axis on either side."""
    return [[None if c is None else c.stacked(in_size, out_size, same=same) for c in row] for row in matrix]
