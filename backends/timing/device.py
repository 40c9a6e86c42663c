"""A model of a device: how fast it moves bytes, multiplies matrices, and begins kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from .work import Piece, Work

Curve: TypeAlias = tuple[tuple[float, float], ...]
"""Pairs of a number of bytes and a rate, small ones first."""

_SCALARS = ("element", "series", "launch", "call", "rewriting", "iteration")
THIN, THICK = 16, 512
"""The smallest dimension of the two products that are timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceModel:
    """What a device takes for pieces of work. All times are in seconds."""

    name: str
    """What it is, for people: `cpu, 2 cores`."""
    bandwidth: Curve
    """Pairs of the bytes of an array and the bytes a second that are read and written in it, small arrays first."""
    fresh: Curve
    """The same of the bytes that a program allocates and the bytes of it a second that are written first."""
    thin: Mapping[str, float]
    """By element type, floating-point operations a second of a product whose smallest dimension is `THIN`."""
    thick: Mapping[str, float]
    """The same where it is `THICK`."""
    element: float
    """An element-wise operation of one element."""
    series: float
    """A `tanh`, an `exp` or a `sin` of one element."""
    launch: float
    """What every kernel takes beside its work."""
    call: float
    """The same of a product of matrices, which on a CPU is a library's: many times as much."""
    rewriting: float
    """A byte of an array of which a loop reads a slice and writes it: some versions of XLA copy the whole of it."""
    iteration: float
    """What every iteration of a loop takes beside its kernels."""

    def seconds(self, work: Work) -> float:
        """What the work of a program takes, one piece after the other."""
        return work.fresh / _between(self.fresh, work.fresh) + self.running(work)

    def running(self, work: Work) -> float:
        """The same where its arrays are there already, as in a loop's body."""
        return sum(times * self.of(piece) for times, piece in work.pieces)

    def of(self, piece: Piece) -> float:
        """What one piece takes: the longer one of computing and moving bytes, and what it takes to begin.

        A product writes its result when it has computed, and puts transposed operands in order before. That with a
        vector is a kernel like any other.
        """
        computing = piece.elements * self.element + piece.series * self.series
        of_matrices = piece.flops > 0 and piece.smallest > 1
        if of_matrices:
            computing += piece.flops / self.product_rate(piece.dtype, piece.smallest)
        else:
            computing += piece.flops * self.element
        read, apart = (sum(n / _between(self.bandwidth, of) for n, of in part) for part in (piece.bytes, piece.apart))
        apart += piece.rewritten * self.rewriting
        beginning = piece.launches * (self.call if of_matrices else self.launch)
        return max(computing, read) + apart + beginning + piece.iterations * self.iteration

    def product_rate(self, dtype: str, smallest: float) -> float:
        """Operations a second of a product by its smallest dimension `d`: `R d / (d + h)`, through what was timed.

        An element type that was not timed is as fast as f32, for its bytes.
        """
        if dtype not in self.thick:
            wide = {"float64": 2.0, "complex64": 1.0, "complex128": 2.0}.get(dtype, 1.0)
            return self.product_rate("float32", smallest) / wide
        thin, thick = self.thin[dtype], self.thick[dtype]
        if thick <= thin:
            return thin
        half = THIN * THICK * (thick - thin) / (thin * THICK - thick * THIN) if thin * THICK > thick * THIN else THICK
        return thick * (THICK + half) / THICK * smallest / (smallest + half)

    def to_json(self) -> dict[str, Any]:
        """The model as JSON's values."""
        return asdict(self) | {"thin": dict(self.thin), "thick": dict(self.thick)}

    @classmethod
    def from_json(cls, given: Any) -> DeviceModel:
        """The model that `to_json` gave. Raises ValueError for what is none."""
        try:
            found = cls(
                name=str(given["name"]),
                bandwidth=_curve(given["bandwidth"]),
                fresh=_curve(given["fresh"]),
                thin=_rates(given["thin"]),
                thick=_rates(given["thick"]),
                **{key: float(given[key]) for key in _SCALARS},
            )
        except (KeyError, TypeError, AttributeError) as wrong:
            raise ValueError(f"no model of a device: {wrong}") from wrong
        if not all(found._numbers()) or found.rewriting < 0:
            raise ValueError("no model of a device: a rate is missing, or is not positive")
        return found

    def _numbers(self) -> list[bool]:
        numbers = [x for pair in (*self.bandwidth, *self.fresh) for x in pair]
        numbers += [
            *self.thin.values(),
            *self.thick.values(),
            self.element,
            self.series,
            self.launch,
            self.call,
            self.iteration,
        ]
        there = [self.bandwidth, self.fresh, "float32" in self.thick, self.thin.keys() == self.thick.keys()]
        return [*map(bool, there), *(math.isfinite(x) and x > 0 for x in numbers)]


def _curve(given: Any) -> Curve:
    return tuple((float(size), float(rate)) for size, rate in given)


def _rates(given: Any) -> dict[str, float]:
    return {str(of): float(rate) for of, rate in given.items()}


def _between(curve: Curve, size: float) -> float:
    """The rate at a size: between those that were measured, by logarithms; beyond them, that of the nearest."""
    (low, rate), *others = curve
    for high, next_rate in others:
        if size < high:
            share = max(0.0, math.log(size / low) / math.log(high / low)) if size > 0 else 0.0
            return rate ** (1 - share) * next_rate**share
        low, rate = high, next_rate
    return rate
