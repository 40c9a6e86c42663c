"""Traces held one step behind: a step leaves its factors pending, and whatever comes next applies them first.

What a step's reverse mode contracts is then the array that its forward pass has just written. Were the trace advanced
at once, the one that entered would be read after it is overwritten, and XLA would copy it. A fold of several steps
advances its traces itself, once, and leaves nothing pending.

Two forms are handed from window to window: the traces alone (`settled`), or followed by what is pending. A carry always
has the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ...ir.plan import Contract, Trace
from ...ir.plan.contract import contraction
from ...ir.values import Value
from .algebra import Algebra, Cotangents, Held, Jacobians, OnPositions, added
from .close import Closed, close_fold
from .history import closure, no_steps, swept_step
from .pattern import Sweep, Sweeps, Unit
from .trace_pass import trace_pass

Traces: TypeAlias = tuple[Any, ...]
"""One array for each trace of the plan, in order; then what is pending, a tuple of arrays, where anything can be."""

AT_ONCE = 16
"""Entries of the first axis of a large trace that one loop contracts: so few that their lines stay near."""


class Pending:
    """What one step leaves: for each unit the product `P` and each sweep's sensitivities `s`, and the data `x`."""

    def __init__(self, products: list[Jacobians], factors: list[list[Cotangents]], data: list[Any]) -> None:
        """Hold arrays without a time axis; `data` in the order of `Lag.data`."""
        self.products, self.factors, self.data = products, factors, data

    @property
    def tree(self) -> Any:
        """Everything, as a pytree."""
        return self.products, self.factors, self.data


class Lag:
    """Holds the traces of one plan's sweeps a step behind."""

    def __init__(self, sweeps: Sweeps, traces: Sequence[Trace], states: Sequence[Any]) -> None:
        """Prepare for `traces`, all of the plan's; `states` are the hidden states' shapes and element types."""
        self.sweeps, self.units = sweeps, sweeps.units
        self.place = {trace: k for k, trace in enumerate(traces)}
        self.states = states
        self.data: list[Value] = list(dict.fromkeys(s.data for s in sweeps.sweeps if s.data is not None))

    def settled(self, traces: Traces) -> Traces:
        """The traces after the last step, nothing pending."""
        if len(traces) == len(self.place):
            return traces
        *found, arrays = traces
        pending, before = self._pending(arrays), dict(zip(self.place, traces, strict=False))
        for unit, product, factors in zip(self.units, pending.products, pending.factors, strict=True):
            for sweep, sensitive in zip(unit.sweeps, factors, strict=True):
                held = _of(sweep, before)
                data = None if sweep.data is None else pending.data[self.data.index(sweep.data)]
                new = _advanced(unit.algebra, sweep, held, product, sensitive, data)
                for state, trace in zip(sweep.states, sweep.traces, strict=True):
                    found[self.place[trace]] = new[state]
        return tuple(found)

    def ready(self, traces: Traces, steps: int) -> Traces:
        """The traces in the form that windows or folds of so many steps hand on: settled where they advance them."""
        if not self.units or (steps == 1 and len(traces) > len(self.place)):
            return traces
        return (*traces, self._nothing()) if steps == 1 else self.settled(traces)

    def behind(self, traces: Traces, record: Mapping[Value, Any]) -> Traces:
        """Settled traces followed by what one step leaves pending; `record` has its values, `[1, ...]`."""
        return (*traces, self._arrays(record)) if self.units else traces

    def read(self, held: Mapping[Trace, Any], cotangents: Any) -> dict[Contract, Any]:
        """The contraction of every settled trace with cotangents of the hidden states, indexed by place."""
        sweeps = [sweep for unit in self.units for sweep in unit.sweeps]
        return {s.contract: _contracted(s, _of(s, held), cotangents) for s in sweeps}

    def close(
        self,
        held: Mapping[Trace, Any],
        record: Mapping[Value, Any],
        steps: int,
        entering: Mapping[int, Any] | None = None,
    ) -> Closed:
        """The end of a fold of so many steps, of settled traces: `close_fold`; a single step advances nothing."""
        if steps > 1:
            return close_fold(self.sweeps, held, self.states, record, entering or None)
        reads = self.read(held, {k: bars[0] for k, bars in entering.items()}) if entering else {}
        return Closed(dict(held), reads, [])

    def _nothing(self) -> tuple[Any, ...]:
        """What is pending where nothing is."""
        ones = [u.algebra.start(closure(u.jacobians, u.states), self._states_of(u))[0] for u in self.units]
        _, factors, data = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self._kinds.tree)
        return tuple(jax.tree.leaves((ones, factors, data)))

    @cached_property
    def _kinds(self) -> Pending:
        """The shapes and element types of what a step leaves."""
        values = self.sweeps.needs
        record = [jax.ShapeDtypeStruct((1, *v.type.shape), v.type.dtype) for v in values]
        left = jax.eval_shape(lambda arrays: self._left(dict(zip(values, arrays, strict=True))).tree, record)
        return Pending(*left)

    def _pending(self, arrays: Sequence[Any]) -> Pending:
        return Pending(*jax.tree.unflatten(jax.tree.structure(self._kinds.tree), arrays))

    def _arrays(self, record: Mapping[Value, Any]) -> tuple[Any, ...]:
        kinds = jax.tree.leaves(self._kinds.tree)
        return tuple(
            x.astype(kind.dtype) for x, kind in zip(jax.tree.leaves(self._left(record).tree), kinds, strict=True)
        )

    def _left(self, record: Mapping[Value, Any]) -> Pending:
        """What the step of this record leaves."""
        products, factors = list[Jacobians](), list[list[Cotangents]]()
        for unit in self.units:
            here = {pair: record[value][0] for pair, value in unit.jacobians.items()}
            sensitive = [{k: record[f][0] for k, f in sweep.factors.items()} for sweep in unit.sweeps]
            (product, _), (found, _) = swept_step(unit, *no_steps(unit, self._states_of(unit)), here, sensitive, None)
            products.append(product)
            factors.append(found)
        return Pending(products, factors, [record[v][0] for v in self.data])

    def _states_of(self, unit: Unit) -> dict[int, Any]:
        return {k: self.states[k] for k in unit.states}


def _of(sweep: Sweep, traces: Mapping[Trace, Any]) -> Held:
    """The arrays of a sweep, by state."""
    return {k: traces[trace] for k, trace in zip(sweep.states, sweep.traces, strict=True)}


def _advanced(
    algebra: Algebra, sweep: Sweep, held: Held, product: Jacobians, factors: Mapping[int, Any], data: Any
) -> Held:
    """`P E + s (x) x`.

    Where positions and states do not meet it is an element-wise loop for each array, which XLA runs in place by itself.
    """
    pairs = {p: x for p, x in product.items() if p[0] in held and p[1] in held}
    if not isinstance(algebra, OnPositions) or any(of != on for of, on in pairs):
        rows = {k: s[None] for k, s in factors.items()}
        return trace_pass(algebra, sweep, held, product, rows, None if data is None else data[None], None)[0]
    pairs = {p: algebra.placed(sweep, x) for p, x in pairs.items()}
    moved, _ = algebra.passed(sweep, held, pairs, None, "")
    new: Held = {}
    for k, old in held.items():
        terms = [
            *([moved[k]] if k in moved else []),
            *([sweep.placement.outer(factors[k], data)] if k in factors else []),
        ]
        new[k] = added(terms).astype(old.dtype) if terms else jnp.zeros_like(old)
    return new


def _contracted(sweep: Sweep, held: Held, cotangents: Any) -> Any:
    """`<c, E>`, of a large trace a few entries of its first axis at a time: else XLA holds all products, then adds."""
    place, states = sweep.placement, list(held)
    credit = [place.gather(cotangents[k]) for k in states]
    axis, size = place.batch[:1], sum(trace.nbytes for trace in held.values())
    if not axis or place.sizes[axis] == 1 or size < Algebra.in_place_from:
        return contraction(place, list(held.values()), credit)

    def entry(at: Any) -> Any:
        parts = [jax.lax.dynamic_index_in_dim(x, at, place.trace.index(axis), keepdims=False) for x in held.values()]
        bars = [jax.lax.dynamic_index_in_dim(x, at, place.output.index(axis), keepdims=False) for x in credit]
        return contraction(place, parts, bars, axis)

    whole, rest = divmod(place.sizes[axis], AT_ONCE)
    weight = sweep.site.weight.value.type

    def some(k: Any, total: Any) -> Any:
        return total + added([entry(k * AT_ONCE + j) for j in range(AT_ONCE)])

    total = jax.lax.fori_loop(0, whole, some, jnp.zeros(weight.shape, weight.dtype))
    return added([total, *(entry(whole * AT_ONCE + j) for j in range(rest))])
