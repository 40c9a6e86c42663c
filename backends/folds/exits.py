"""Traces that are read at every step, as rules do that take credit at a step's exit: one pass over each a window.

With `E' = D E + f (x) x`, the sum over a window's steps of `<c_t, E_t>` is `<c, E_0>`, where `c` is the credit pulled
back through the `D` to the window's first step, and one product of the window's data with what that credit makes of the
`f` on its way. So a trace is read once and written once a window, and not at each of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from ...ir.plan import Advance, Contract, Operation, Placement, Plan, Total, Trace
from ...ir.transition import Transition
from ...ir.values import Value
from ..backend import Backend, Override, Uses
from ..reverse import stacked_product
from .history import Stretch, backward
from .one_pass import Operands, Pass
from .pattern import Matcher, Sweep, Unit, chosen
from .trace_pass import trace_pass

FROM = 4
"""From so many steps on it takes less time than as many passes."""


@dataclass(frozen=True, eq=False)
class Exits:
    """The traces of a plan that are read so; each is a unit of its own."""

    units: tuple[Unit, ...] = ()

    @classmethod
    def of(
        cls,
        transition: Transition,
        plan: Plan,
        uses: Uses,
        backend: Backend,
        overrides: Mapping[type[Operation], Override],
    ) -> Exits:
        """All of a plan's; `backend`, whose are the overrides, says what each is run by."""
        matcher = _Matcher(transition, plan, uses)
        matched = [sweep for op in plan.step if (sweep := matcher.match(op)) is not None]
        units = [_unit(replace(sweep, choice=backend.choose(sweep))) for sweep in matched]
        return cls(tuple(chosen(unit, transition, uses, backend, overrides) for unit in units))

    def among(self, operations: set[Operation | None]) -> Exits:
        """Those whose operations are all among some."""
        return Exits(tuple(unit for unit in self.units if operations.issuperset(_operations(unit))))

    @cached_property
    def sweeps(self) -> tuple[Sweep, ...]:
        """One for each trace."""
        return tuple(unit.sweeps[0] for unit in self.units)

    @cached_property
    def operations(self) -> frozenset[Operation]:
        """The advances and the contractions."""
        return frozenset(op for unit in self.units for op in _operations(unit))

    @cached_property
    def reads(self) -> frozenset[Value]:
        """What the contractions give."""
        return frozenset(sweep.contract.results[0] for sweep in self.sweeps)

    @cached_property
    def traces(self) -> frozenset[Trace]:
        """The arrays of all traces."""
        return frozenset(trace for sweep in self.sweeps for trace in sweep.traces)

    def needs(self, credited: bool) -> list[Value]:
        """What is needed of each step of a window: Jacobians, sensitivities and data, and credit where it is known."""
        found = [v for unit in self.units for v in unit.kept]
        found += [sweep.data for sweep in self.sweeps if sweep.data is not None]
        return list(dict.fromkeys([*found, *(c for s in self.sweeps for c in s.contract.cotangents if credited)]))

    def close(
        self, held: Mapping[Trace, Any], record: Mapping[Value, Any], constants: Mapping[Value, Any], credited: bool
    ) -> tuple[dict[Trace, Any], dict[Value, Any]]:
        """The traces after a window, and for each contraction its sum over the steps; none without credit.

        `record` has `needs(credited)`, `[time, ...]`, of a window of `FROM` steps or more; `constants` are those of the
        run.
        """
        traces, sums = dict[Trace, Any](), dict[Value, Any]()
        stretches = [_stretch(unit, record, constants, credited) for unit in self.units]
        for stretch, swept in zip(stretches, backward(stretches, behind=False), strict=True):
            unit, sweep = stretch.unit, stretch.unit.sweeps[0]
            old = {k: held[trace] for k, trace in sweep.trace_of.items()}
            data = None if sweep.data is None else record[sweep.data]
            credit = swept.cotangents if credited else None
            given = Operands(old, swept.product, swept.factors[0], data, credit)
            new, read = trace_pass(Pass(unit.algebra, sweep), given)
            traces.update((trace, new[k]) for k, trace in sweep.trace_of.items())
            if credited:
                assert swept.credit[0] is not None
                own = stacked_product(sweep.site, data, swept.credit[0])
                sums[sweep.contract.results[0]] = read + own
        return traces, sums


def _operations(unit: Unit) -> tuple[Operation, ...]:
    return unit.sweeps[0].advance, unit.sweeps[0].contract


def _unit(sweep: Sweep) -> Unit:
    group = sweep.placement.association.group
    return Unit(group=group, states=sweep.states, jacobians=sweep.jacobians, sweeps=(sweep,), whole=True)


def _stretch(unit: Unit, record: Mapping[Value, Any], constants: Mapping[Value, Any], credited: bool) -> Stretch:
    cotangents = dict(zip(unit.states, unit.sweeps[0].contract.cotangents, strict=True))
    like = {k: jnp.zeros(c.type.shape, c.type.dtype) for k, c in cotangents.items()}
    arriving = {k: record[c] for k, c in cotangents.items()} if credited else None
    return Stretch(unit, record, arriving, like, constants)


class _Matcher(Matcher):
    """Whether an advance and all uses of its values are this pattern."""

    def _contraction(self, op: Advance, place: Placement) -> Contract | None:
        """The one contraction that reads the trace, by credit that does not hang on it, and that is only added up."""
        read = self._one_reader(op, place)
        if read is None or read not in self.plan.step:
            return None
        totals = [total for total in self.plan.at_window if type(total) is Total and total.value is read.results[0]]
        if not totals or any(reader not in totals for reader in self.uses.of(read.results[0])):
            return None
        return None if self._reached(op.trace).intersection(read.cotangents) else read

    def _states(self, contract: Contract) -> tuple[int, ...]:
        """Their places in the trace: credit at a step's exit says of no state which one it is."""
        return tuple(range(len(contract.trace)))

    def _reached(self, trace: tuple[Value, ...]) -> set[Value]:
        """All values of a step that hang on a trace, by way of others too."""
        found = set(trace)
        while True:
            new = {v for op in self.plan.step if found.intersection(op.operands) for v in op.results}
            new |= {t.before for t in self.plan.traces if t.after in found or t.after in new}
            if new <= found:
                return found
            found |= new
