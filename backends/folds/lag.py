"""Traces held one step behind: a step leaves its factors pending, and whatever comes next applies them first.

What a step's reverse mode contracts is then the array that its forward pass has just written. Were the trace advanced
at once, the one that entered would be read after it is overwritten, and XLA would copy it. A fold of several steps
advances its traces itself, once, and leaves nothing pending.

Two forms are handed from window to window: the traces alone (`settled`), or followed by what is pending. A carry always
has the second.

A trace of a state whose column of `D` is zero is not carried at all: what it is after a step follows from the other
states' traces before it. So a plan with such a state always has the second form, and its folds leave their last step
pending.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from ...ir.plan import Contract, Placement, Trace
from ...ir.plan.contract import contraction
from ...ir.values import Value
from .algebra import Algebra, Cotangents, Held, Jacobians, OnPositions, added, as_multiplied
from .close import Closed, close_fold
from .history import columns, here_at
from .one_pass import Operands, Pass
from .pattern import Sweep, Sweeps, Unit
from .trace_pass import trace_pass

Traces: TypeAlias = tuple[Any, ...]
"""One array for each trace of the plan, in order; then what is pending, a tuple of arrays, where anything can be.

Where that is there, `()` stands for a trace that is not carried.
"""

AT_ONCE = 16
"""Entries of the first axis of a large trace that one loop contracts: so few that their lines stay near."""


class Pending(NamedTuple):
    """What one step leaves, arrays without a time axis."""

    jacobians: list[Jacobians]
    """Of each unit `D`, as its algebra has it."""
    sensitivities: list[list[Cotangents]]
    """Of each unit and sweep `f`."""
    data: list[Any]
    """`x`, in the order of `Lag.data`."""


class Lag:
    """Holds the traces of one plan's sweeps a step behind."""

    def __init__(self, sweeps: Sweeps, traces: Sequence[Trace], states: Sequence[Any], held: Sequence[Any]) -> None:
        """Prepare for `traces`, all of the plan's, `held` as these element types.

        `states` are the hidden states' shapes and element types.
        """
        self.sweeps, self.units, self.held = sweeps, sweeps.units, held
        self.place = {trace: k for k, trace in enumerate(traces)}
        self.states = states
        self.data: list[Value] = list(dict.fromkeys(s.data for s in sweeps.sweeps if s.data is not None))
        derived = {t for u in self.units for s in u.sweeps for k, t in s.trace_of.items() if k in u.derived}
        self.carried = [trace not in derived for trace in traces]
        """For each trace whether it is carried."""
        self.stays_behind = bool(derived)
        """Whether something is always pending."""

    def share_held(self, held: Sequence[Any]) -> float:
        """The smallest share of its own bits that a swept trace is held in, of the element types of all traces."""
        swept = [trace for unit in self.units for sweep in unit.sweeps for trace in sweep.traces]
        shares = [jnp.dtype(held[self.place[t]]).itemsize / jnp.dtype(t.before.type.dtype).itemsize for t in swept]
        return min(shares, default=1.0)

    def settled(self, traces: Traces) -> Traces:
        """The traces after the last step, nothing pending."""
        if len(traces) == len(self.place):
            return traces
        found, pending = list(traces[:-1]), self.pending(traces)
        for unit, here, of_unit in zip(self.units, pending.jacobians, pending.sensitivities, strict=True):
            _, like = unit.algebra.start((), self._states_of(unit))
            one = unit.algebra.identity([(k, k) for k in unit.states], like)
            for sweep, sensitive in zip(unit.sweeps, of_unit, strict=True):
                held = {k: traces[self.place[trace]] for k, trace in unit.carried(sweep).items()}
                data = None if sweep.data is None else pending.data[self.data.index(sweep.data)]
                factors = unit.algebra.carried_on(sweep, one, sensitive)
                new = _advanced(unit.algebra, sweep, held, here, factors, data)
                for state, trace in sweep.trace_of.items():
                    at = self.place[trace]
                    found[at] = new[state].astype(self.held[at])
        return tuple(found)

    def begun(self, traces: Traces) -> Traces:
        """The form of a carry at the beginning of a sequence, of zeros and of what others begin as."""
        return (*self._only_carried(traces), self._nothing()) if self.units else traces

    def ready(self, traces: Traces, steps: int) -> Traces:
        """The traces in the form that windows or folds of so many steps hand on: settled where they advance them."""
        if not self.units or self.stays_behind or (steps == 1 and len(traces) > len(self.place)):
            return traces
        return (*traces, self._nothing()) if steps == 1 else self.settled(traces)

    def after(self, traces: Traces, record: Mapping[Value, Any], steps: int, constants: Mapping[Value, Any]) -> Traces:
        """The same form, of what a window or a fold leaves: `close` gave the traces; `record` has its values."""
        leaves_some = bool(self.units) and (steps == 1 or self.stays_behind)
        return (*self._only_carried(traces), self._arrays(record, constants)) if leaves_some else traces

    def _only_carried(self, traces: Traces) -> Traces:
        return tuple(x if carried else () for carried, x in zip(self.carried, traces, strict=True))

    def read(self, held: Mapping[Trace, Any], cotangents: Any) -> dict[Contract, Any]:
        """The contraction of every settled trace with cotangents of the hidden states, indexed by place."""
        sweeps = [sweep for unit in self.units for sweep in unit.sweeps]
        return {s.contract: _contracted(s, {k: held[t] for k, t in s.trace_of.items()}, cotangents) for s in sweeps}

    def close(
        self,
        held: Mapping[Trace, Any],
        record: Mapping[Value, Any],
        steps: int,
        constants: Mapping[Value, Any],
        entering: Mapping[int, Any] | None = None,
    ) -> Closed:
        """The end of a fold of so many steps, of settled traces: `close_fold`; a single step advances nothing."""
        if steps > 1:
            return close_fold(self.sweeps, held, self.states, record, entering or None, self.stays_behind, constants)
        reads = self.read(held, {k: bars[0] for k, bars in entering.items()}) if entering else {}
        return Closed(dict(held), reads, [])

    def _nothing(self) -> tuple[Any, ...]:
        """What is pending where nothing is."""
        ones = [u.algebra.start(columns(u), self._states_of(u))[0] for u in self.units]
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.kinds)
        return tuple(jax.tree.leaves(zeros._replace(jacobians=ones)))

    @cached_property
    def kinds(self) -> Pending:
        """The shapes and element types of what a step leaves."""
        values, fixed = self.sweeps.needs, self.sweeps.constants
        record = [jax.ShapeDtypeStruct((1, *v.type.shape), v.type.dtype) for v in values]
        constants = [jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in fixed]

        def left(record: list[Any], constants: list[Any]) -> Pending:
            return self._left(dict(zip(values, record, strict=True)), dict(zip(fixed, constants, strict=True)))

        return jax.eval_shape(left, record, constants)

    def pending(self, traces: Traces) -> Pending:
        """What is pending behind some traces."""
        return jax.tree.unflatten(jax.tree.structure(self.kinds), traces[-1])

    def _arrays(self, record: Mapping[Value, Any], constants: Mapping[Value, Any]) -> tuple[Any, ...]:
        kinds, left = jax.tree.leaves(self.kinds), jax.tree.leaves(self._left(record, constants))
        return tuple(x.astype(kind.dtype) for x, kind in zip(left, kinds, strict=True))

    def _left(self, record: Mapping[Value, Any], constants: Mapping[Value, Any]) -> Pending:
        """What the last step of this record leaves."""
        last = {v: record[v][-1] for v in self.sweeps.needs if v in record}
        linear = [unit.linearised({**constants, **last}) for unit in self.units]
        jacobians = [here_at(u, here, self._states_of(u)) for u, (here, _) in zip(self.units, linear, strict=True)]
        return Pending(jacobians, [sensitive for _, sensitive in linear], [last[v] for v in self.data])

    def _states_of(self, unit: Unit) -> dict[int, Any]:
        return {k: self.states[k] for k in unit.states}


def _advanced(
    algebra: Algebra, sweep: Sweep, held: Held, here: Jacobians, factors: Mapping[int, Any], data: Any
) -> Held:
    """`D E + s (x) x` of every state, from the traces that are carried.

    Where positions and carried states do not meet it is an element-wise loop for each array, which XLA runs in place by
    itself.
    """
    derived = [k for k in sweep.states if k not in held]
    if isinstance(algebra, OnPositions) and all(of == on for of, on in here if of in held and on in held):
        own = _element_wise(algebra, sweep, list(held), held, here, factors, data)
        held, own = jax.lax.optimization_barrier((held, own)) if derived else (held, own)
        return own | _element_wise(algebra, sweep, derived, held, here, factors, data)
    new = _element_wise(algebra, sweep, derived, held, here, factors, data)
    rows = {k: s[None] for k, s in factors.items()}
    given = Operands(held, here, rows, None if data is None else data[None], None)
    return new | trace_pass(Pass(algebra, sweep), given)[0]


def _element_wise(
    algebra: Algebra,
    sweep: Sweep,
    states: Sequence[int],
    held: Held,
    here: Jacobians,
    factors: Mapping[int, Any],
    data: Any,
) -> Held:
    """`D E + s (x) x` of some states."""
    data = None if data is None else sweep.unfolded(data)
    pairs = {p: algebra.placed(sweep, x) for p, x in here.items() if p[0] in states and p[1] in held}
    pairs = jax.lax.optimization_barrier(pairs)  # else every entry of the trace finds out where its own stands
    moved, _ = algebra.passed(sweep, held, pairs, None, "")
    new: Held = {}
    for k in states:
        terms = [
            *([moved[k]] if k in moved else []),
            *([sweep.placement.outer(factors[k], data)] if k in factors else []),
        ]
        new[k] = added(terms) if terms else jnp.zeros(sweep.placement.shape, sweep.trace_of[k].before.type.dtype)
    return new


def _contracted(sweep: Sweep, held: Held, cotangents: Any) -> Any:
    """`<c, E>`, of a large trace on a CPU a few entries of its first axis at a time."""
    place = sweep.placement
    arrays, credit = list(held.values()), jax.lax.optimization_barrier([place.gather(cotangents[k]) for k in held])
    axis, size = place.batch[:1], as_multiplied(arrays)
    if not axis or place.sizes[axis] == 1 or size < Algebra.in_place_from:
        return contraction(place, arrays, credit)
    by_entries, at_once = partial(_contracted_by_entries, place, axis), partial(contraction, place)
    return jax.lax.platform_dependent(arrays, credit, cpu=by_entries, default=at_once)


def _contracted_by_entries(place: Placement, axis: str, arrays: list[Any], credit: list[Any]) -> Any:
    """`<c, E>` of a few entries at a time: on a CPU XLA else holds all products, then adds."""

    def entry(at: Any, whole: list[Any]) -> Any:
        parts = [jax.lax.dynamic_index_in_dim(x, at, place.trace.index(axis), keepdims=False) for x in whole]
        bars = [jax.lax.dynamic_index_in_dim(x, at, place.output.index(axis), keepdims=False) for x in credit]
        return contraction(place, parts, bars, axis)

    weight = place.association.site.weight.value.type
    at_once = _at_once(place.sizes[axis], arrays, weight.dtype)
    count, rest = divmod(place.sizes[axis], at_once)

    def some(k: Any, now: Any) -> Any:
        whole, total = now
        more = added([entry(k * at_once + j, whole) for j in range(at_once)])
        return jax.lax.optimization_barrier((whole, total + more)) if at_once < AT_ONCE else (whole, total + more)

    whole, total = jax.lax.fori_loop(0, count, some, (arrays, jnp.zeros(weight.shape, weight.dtype)))
    return added([total, *(entry(count * at_once + j, whole) for j in range(rest))])


def _at_once(entries: int, whole: list[Any], dtype: Any) -> int:
    """How many entries one turn of the loop contracts.

    Of traces that are held in fewer bits than they are multiplied in, half as many, and never all. XLA, as of JAX 0.10,
    converts what a loop does not change before it, whole; and what it reads so often at once.
    """
    return (
        min(AT_ONCE // 2, entries // 2) if any(x.dtype.itemsize < jnp.dtype(dtype).itemsize for x in whole) else AT_ONCE
    )
