"""Filtered data, `X' = a X + x`: read and advanced once a fold, not once a step.

What a window's end reads of such a trace is a sum over the data before it. So the cotangent that it is read with,
decayed backwards, joins those of the site's own output at these steps, and the site's one product serves both; what is
left is one read of the trace that entered the fold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from ...ir.plan import Advance, Latest, LatestProduct, Operation, PickedProduct, Plain, Product, Scalar, Trace
from ...ir.transition import Site
from ...ir.values import Value
from ..picked import AnySource, PickedSource
from ..program import Action, Program


@dataclass(frozen=True, eq=False, kw_only=True)
class Filter(ABC):
    """One trace of a site's data, and the products at a window's end that read it."""

    trace: Trace
    factor: complex
    """`a`; a float where it is real."""
    products: tuple[Product, ...]

    @property
    @abstractmethod
    def recorded(self) -> Value:
        """The data of each step that a fold's end reads."""

    @abstractmethod
    def advanced(self, entered: Any, data: Any) -> Any:
        """The trace after a fold, from what entered it and the fold's data, `[time, ...]`."""

    @abstractmethod
    def entering(self, read: Product, entered: Any, credit: Any) -> tuple[Any, Any]:
        """Data and cotangents of the steps before a fold, from the trace that entered it, and credit that reads it."""

    def spread(self, read: Product, entered: Any, data: Any, credit: Any) -> list[tuple[Site, Any, Any]]:
        """Rows for the site's product: (site, stacked data, cotangents of its output).

        Args:
            read: the product that stands for a read at each window's end.
            entered: the trace as it entered the fold.
            data: the site's data at every step of the fold, `[time, ...]`.
            credit: the cotangents that the windows read with, `[windows, *output]`.
        """
        windows, steps = len(credit), len(data)
        begins = np.arange(windows) * (steps // windows)
        first = _summed(self._powers(begins, credit.dtype), credit)
        rows = [(read.site, *self.entering(read, entered, first))]
        if windows > 1:
            ages = begins[None, :] - 1 - np.arange(steps)[:, None]
            later = jnp.where(ages >= 0, self._powers(np.maximum(ages, 0), credit.dtype), 0)
            rows.append((read.site, data, _summed(later, credit)))
        return rows

    def _powers(self, ages: Any, dtype: Any) -> Any:
        """`a` to these powers, as a constant."""
        return jnp.asarray(np.power(self.factor, ages), dtype)


@dataclass(frozen=True, eq=False, kw_only=True)
class Sum(Filter):
    """A trace that is the filtered data."""

    data: Value
    source: AnySource | None = None
    """Where the data were unfolded for a weight operation, what they were unfolded from: that is stacked."""

    @property
    def recorded(self) -> Value:
        """The data, as they were before they were unfolded."""
        return self.data if self.source is None else self.source.data

    def advanced(self, entered: Any, data: Any) -> Any:
        """The weighted sum of the fold's data, and of what entered."""
        steps, dtype = len(data), self.data.type.dtype
        left = self._powers(np.arange(steps)[::-1], dtype)
        added = _summed(left, data) if self.source is None else self.source.summed(left, data)
        found = added + self._powers(steps, dtype) * entered
        return found.astype(entered.dtype)

    def entering(self, read: Product, entered: Any, credit: Any) -> tuple[Any, Any]:
        """The trace, as the data of one step."""
        del read
        return entered[None], credit[None]


@dataclass(frozen=True, eq=False, kw_only=True)
class LookUps(Filter):
    """A trace that is the places of the last look-ups."""

    latest: Latest

    @property
    def recorded(self) -> Value:
        """What is looked up."""
        return self.latest.index

    def advanced(self, entered: Any, data: Any) -> Any:
        """The last places, of the fold's first of all."""
        return self.latest.moved(entered, data)

    def entering(self, read: Product, entered: Any, credit: Any) -> tuple[Any, Any]:
        """The look-ups before the fold, which count less and less."""
        assert isinstance(read, LatestProduct)
        return read.faded(entered, credit), credit


def _summed(weights: Any, rows: Any) -> Any:
    """Weighted sums over the leading axis."""
    return jnp.tensordot(weights, rows, 1, precision=Precision.HIGHEST)


def filters(program: Program, products: Sequence[Product], sources: Mapping[Site, AnySource]) -> tuple[Filter, ...]:
    """The traces of a plan that are filtered data, and that nothing reads but some of these deferred `products`."""
    found = [_match(program, sources, action, products) for action in program.early]
    return tuple(f for f in found if f is not None)


def _match(
    program: Program, sources: Mapping[Site, AnySource], action: Action, products: Sequence[Product]
) -> Filter | None:
    """The filter that an action advances; None where it is none."""
    op = action.operation
    if op is None or type(op) in program.overrides:
        return None
    if type(op) is Latest:
        return _look_ups(program, sources, op, products)
    if type(op) is not Advance or type(op.by) is not Scalar or type(op.add) is not Plain or op.inflow:
        return None
    if len(op.trace) != 1 or (data := op.add.values[0]) is None:
        return None
    if (found := _summing(program, sources, op, products)) is None:
        return None
    trace, readers, source = found
    whole = all(p.cotangent.type.dtype == p.site.output.type.dtype == op.trace[0].type.dtype for p in readers)
    if not whole or op.trace[0].type.dtype != data.type.dtype:
        return None
    factor = complex(op.by.factor, op.by.imaginary) if op.by.imaginary else op.by.factor
    return Sum(trace=trace, factor=factor, data=data, products=readers, source=source)


def _summing(
    program: Program, sources: Mapping[Site, AnySource], op: Advance, products: Sequence[Product]
) -> tuple[Trace, tuple[Product, ...], AnySource | None] | None:
    """The trace that an operation adds values to, the products that alone read it, and what the values are made of.

    Where these are what data are picked of, the trace is too, and they are taken as they are.
    """
    data = op.add.values[0]  # pyright: ignore[reportAttributeAccessIssue]
    trace, readers = _read(program, op, op.trace[0], products, Product)
    if trace is not None and all(p.site.data is data for p in readers):
        return trace, readers, sources.get(readers[0].site)
    trace, readers = _read(program, op, op.trace[0], products, PickedProduct)
    picked = [source for p in readers if isinstance(source := sources.get(p.site), PickedSource)]
    whole = len(picked) == len(readers) and all(source.data is data for source in picked)
    return (trace, readers, None) if trace is not None and whole else None


def _look_ups(
    program: Program, sources: Mapping[Site, AnySource], op: Latest, products: Sequence[Product]
) -> Filter | None:
    """The filter of a trace of places, of sites that look up the very index; None where readers are others."""
    trace, readers = _read(program, op, op.trace, products, LatestProduct)
    found = [p for p in readers if isinstance(p, LatestProduct) and p.factor == readers[0].factor]  # pyright: ignore[reportAttributeAccessIssue]
    same = all((s := sources.get(p.site)) is not None and s.data is op.index and _same_rows(s, op) for p in found)
    if trace is None or not same or len(found) < len(readers):
        return None
    return LookUps(trace=trace, factor=found[0].factor, latest=op, products=readers)


def _same_rows(source: AnySource, op: Latest) -> bool:
    rows = None if isinstance(source, PickedSource) else source.operation.rows(source.weight)
    return rows is not None and (rows.places, rows.fills) == (op.rows, op.fills)


def _read(
    program: Program, op: Operation, before: Value, products: Sequence[Product], kind: type[Product]
) -> tuple[Trace | None, tuple[Product, ...]]:
    """The trace that an operation advances, and the products, of one kind, that read it; None where others do, too."""
    (after,) = op.results
    trace = next((t for t in program.early_traces if t.before is before and t.after is after), None)
    readers = tuple(p for p in products if p.data is before and type(p) is kind)
    others = [reader for reader in program.uses.of(before) if reader is not op and reader not in readers]
    read = others or program.uses.of(after) or {before, after}.intersection([*program.kept, *program.totals])
    return (None if read or not readers else trace), readers
