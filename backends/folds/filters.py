"""Filtered data, `X' = a X + x`: read and advanced once a fold, not once a step.

What a window's end reads of such a trace is a sum over the data before it. So the cotangent that it is read with,
decayed backwards, joins those of the site's own output at these steps, and the site's one product serves both; what is
left is one read of the trace that entered the fold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.lax import Precision

from ...ir.plan import Advance, Plain, Product, Scalar, Trace
from ...ir.transition import Site
from ...ir.values import Value
from ..calls import Source
from ..program import Action, Program


@dataclass(frozen=True, eq=False, kw_only=True)
class Filter:
    """One trace of a site's data, and the products at a window's end that read it."""

    trace: Trace
    factor: complex
    """`a`; a float where it is real."""
    data: Value
    products: tuple[Product, ...]
    source: Source | None = None
    """Where the data were unfolded for a weight operation, what they were unfolded from: that is stacked."""

    @property
    def recorded(self) -> Value:
        """The data of each step that a fold's end reads."""
        return self.data if self.source is None else self.source.data

    def advanced(self, entered: Any, data: Any) -> Any:
        """The trace after a fold, from what entered it and the fold's data, `[time, ...]`."""
        steps, dtype = len(data), self.data.type.dtype
        left = self._powers(np.arange(steps)[::-1], dtype)
        added = _summed(left, data) if self.source is None else self.source.summed(left, data)
        found = added + self._powers(steps, dtype) * entered
        return found.astype(entered.dtype)

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
        rows = [(read.site, entered[None], first[None])]
        if windows > 1:
            ages = begins[None, :] - 1 - np.arange(steps)[:, None]
            later = jnp.where(ages >= 0, self._powers(np.maximum(ages, 0), credit.dtype), 0)
            rows.append((read.site, data, _summed(later, credit)))
        return rows

    def _powers(self, ages: Any, dtype: Any) -> Any:
        """`a` to these powers, as a constant."""
        return jnp.asarray(np.power(self.factor, ages), dtype)


def _summed(weights: Any, rows: Any) -> Any:
    """Weighted sums over the leading axis."""
    return jnp.tensordot(weights, rows, 1, precision=Precision.HIGHEST)


def filters(program: Program, products: Sequence[Product], sources: Mapping[Site, Source]) -> tuple[Filter, ...]:
    """The traces of a plan that are filtered data, and that nothing reads but some of these deferred `products`."""
    if Advance in program.overrides:
        return ()
    found = [_match(program, sources, action, products) for action in program.early]
    return tuple(f for f in found if f is not None)


def _match(
    program: Program, sources: Mapping[Site, Source], action: Action, products: Sequence[Product]
) -> Filter | None:
    """The filter that an action advances; None where it is none."""
    op = action.operation
    if type(op) is not Advance or type(op.by) is not Scalar or type(op.add) is not Plain or op.inflow:
        return None
    if len(op.trace) != 1 or (data := op.add.values[0]) is None:
        return None
    (before,), (after,) = op.trace, op.results
    trace = next((t for t in program.early_traces if t.before is before and t.after is after), None)
    readers = tuple(p for p in products if p.data is before)
    whole = all(
        p.site.data is data and p.cotangent.type.dtype == p.site.output.type.dtype == before.type.dtype for p in readers
    )
    others = [reader for reader in program.uses.of(before) if reader is not op and reader not in readers]
    read = others or program.uses.of(after) or {before, after}.intersection([*program.kept, *program.totals])
    if trace is None or not readers or not whole or read or before.type.dtype != data.type.dtype:
        return None
    factor = complex(op.by.factor, op.by.imaginary) if op.by.imaginary else op.by.factor
    source = sources.get(readers[0].site)
    return Filter(trace=trace, factor=factor, data=data, products=readers, source=source)
