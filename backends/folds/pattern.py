"""The pattern that a whole fold runs at once: `E' = D E + f (x) x`, read by one contraction at each window's end.

While weights do not change, the contractions of a fold's windows with the trace that entered it are linear in their
cotangents: they are pulled back to the fold's first step and done in the pass that advances the trace. What later
windows send back through the fold's own history comes out as cotangents of the sites' outputs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ...coupling import Coupling
from ...ir.plan import (
    Advance,
    Contract,
    Diagonal,
    LossSignal,
    Neighbourhood,
    Operation,
    Outer,
    Placement,
    Plan,
    Pullback,
    Trace,
    Vjp,
)
from ...ir.transition import Group, Site, Transition
from ...ir.values import Value
from ..backend import Backend, Choice, Override, Uses
from ..picked import PickedSource
from ..reverse import stacked_product
from .algebra import Algebra, Cotangents, Jacobians, OnPositions, OnSlots, Pair
from .derivatives import Derivatives

LITTLE = 1 << 18
"""A fold's history may always have this many numbers for each unit."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweep:
    """One matched trace."""

    advance: Advance
    contract: Contract
    traces: tuple[Trace, ...]
    states: tuple[int, ...]
    """For each array of the trace its state, as a place among the hidden states."""
    jacobians: dict[Pair, Value]
    factors: dict[int, Value]
    data: Value | None
    placement: Placement
    couplings: dict[Pair, Coupling] | None = None
    """Where the trace is followed from position to position, the couplings of the Jacobians."""
    choice: Choice | None = None
    """What the backend runs the pass over it by; None for XLA code."""
    picked: PickedSource | None = None
    """Where `data` are not the site's data but what these are picked of, how."""

    @property
    def site(self) -> Site:
        """The site whose weight the trace is of."""
        return self.placement.association.site

    @property
    def of_site(self) -> bool:
        """Whether the data are the site's own, or what these are picked of."""
        return self.picked is not None or self.data is self.site.data

    @property
    def gains(self) -> bool:
        """Whether passes over the trace are best made for many steps at once."""
        return self.choice is None or self.choice.gains

    @property
    def data_labels(self) -> str:
        """Those of `data`; none where there are none."""
        return (self.placement.data or "") if self.picked is None else self.picked.labels

    def unfolded(self, data: Any) -> Any:
        """The data as the trace takes them, from those of a step, or of many."""
        return data if self.picked is None else self.picked.unfolded(data)

    def product(self, data: Any, credit: Any) -> Any:
        """The weight's cotangent from the data and cotangents of the site's output, both `[time, ...]`."""
        return stacked_product(self.site, data, credit) if self.picked is None else self.picked.cotangent(data, credit)

    @property
    def of_a_step(self) -> int:
        """The most numbers that a step's sensitivities, or its data, are."""
        return max(self.placement.output_size * len(self.states), 0 if self.data is None else self.data.type.size)

    @property
    def is_wide(self) -> bool:
        """Whether an array of the trace is larger than a state."""
        return self.placement.size > math.prod(self.placement.association.group.shape)

    @property
    def is_sparse(self) -> bool:
        """Whether a step's sensitivities or data are as large as an array of the trace, and larger than a state.

        Or where data are read where they are picked of: then a trace is as large as a few steps' states.
        """
        return self.picked is not None or (self.of_a_step >= self.placement.size and self.is_wide)

    @property
    def trace_of(self) -> dict[int, Trace]:
        """The array of each state."""
        return dict(zip(self.states, self.traces, strict=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class Unit:
    """Sweeps over one group with one matrix `D`, followed to the same positions: they share its products."""

    group: Group
    states: tuple[int, ...]
    jacobians: dict[Pair, Value]
    sweeps: tuple[Sweep, ...]
    whole: bool = False
    """Whether every trace is carried, derived or not."""
    derivatives: Derivatives | None = None
    """How its Jacobians and sensitivities follow from what a step is made of."""
    choice: Choice | None = None
    """What the backend runs the sweep over its history by; None for XLA code."""

    @property
    def linear(self) -> list[Value]:
        """Its Jacobians and its sensitivities."""
        factors = (f for sweep in self.sweeps for f in sweep.factors.values())
        return list(dict.fromkeys([*self.jacobians.values(), *factors]))

    @property
    def remade(self) -> Derivatives | None:
        """What makes these again from a history of what they follow from; None where they are its history."""
        return self.derivatives if self.choice is not None and self.choice.remakes else None

    @property
    def kept(self) -> Sequence[Value]:
        """What a history has of each step, the data of sites aside."""
        return self.linear if self.remade is None else self.remade.operands

    def linearised(self, values: Mapping[Value, Any]) -> tuple[Jacobians, list[Cotangents]]:
        """`D`, and each sweep's `f`, from the values of a step, and where they are remade from constants."""
        found = values if self.remade is None else self.remade(values)
        jacobians = {pair: found[v] for pair, v in self.jacobians.items()}
        return jacobians, [{k: found[f] for k, f in sweep.factors.items()} for sweep in self.sweeps]

    @cached_property
    def algebra(self) -> Algebra:
        """How its Jacobians are multiplied."""
        first = self.sweeps[0]
        return OnPositions() if first.couplings is None else OnSlots(first.placement, first.couplings)

    @cached_property
    def derived(self) -> frozenset[int]:
        """The states whose column of `D` is zero: the trace before a step has no part in that after it.

        What it is after a step, `D E + f (x) x`, is had from the other states' before it. Such a trace is not carried.
        """
        if self.whole:
            return frozenset()
        read = {on for _, on in self.jacobians}
        begun = {k for s in self.sweeps for k, trace in s.trace_of.items() if trace.start is not None}
        return frozenset(self.states) - read - begun

    def carried(self, sweep: Sweep) -> dict[int, Trace]:
        """The traces of a sweep that are carried from step to step, by state."""
        return {k: trace for k, trace in sweep.trace_of.items() if k not in self.derived}

    @property
    def room(self) -> int | None:
        """The steps whose history takes no more than the traces themselves, or little; None where it is never much."""
        if self.sweeps[0].couplings is None:
            history = max((s.of_a_step for s in self.sweeps if s.is_sparse), default=0)
        else:
            history = max(sweep.placement.output_size for sweep in self.sweeps) * len(self.states)
        held = sum(trace.before.type.size for sweep in self.sweeps for trace in sweep.traces)
        return max(held, LITTLE) // history if history else None


@dataclass(frozen=True, eq=False, kw_only=True)
class Sweeps:
    """All matched traces of a plan."""

    units: tuple[Unit, ...] = ()
    operations: frozenset[Operation] = frozenset()
    """The advances and the contractions that sweeps stand for."""
    needs: tuple[Value, ...] = ()
    """The values of every step that a fold's history has."""
    _traces: frozenset[Trace] = field(default_factory=frozenset[Trace])

    @classmethod
    def none(cls) -> Sweeps:
        """No sweep: every operation runs by itself."""
        return cls()

    @classmethod
    def of(
        cls,
        transition: Transition,
        plan: Plan,
        uses: Uses,
        backend: Backend,
        overrides: Mapping[type[Operation], Override],
        picked: Mapping[Site, PickedSource],
    ) -> Sweeps:
        """The sweeps of a plan, gathered into units; `backend`, whose are the overrides, says what each is run by.

        `picked` are the sources of sites whose data are read where they are picked of.
        """
        matcher = Matcher(transition, plan, uses)
        matched = [sweep for op in plan.step if (sweep := matcher.match(op)) is not None]
        found = [chosen_for(sweep, backend, picked) for sweep in matched]
        units = tuple(chosen(unit, transition, uses, backend, overrides) for unit in _units(found))
        if any(unit.derived for unit in units):
            units = tuple(replace(unit, choice=_left_behind(unit.choice)) for unit in units)
        needs = [*(v for unit in units for v in unit.kept), *(s.data for s in found if s.data is not None)]
        return cls(
            units=units,
            operations=frozenset(op for s in found for op in (s.advance, s.contract)),
            needs=tuple(dict.fromkeys(needs)),
            _traces=frozenset(t for s in found for t in s.traces),
        )

    def carries(self, trace: Trace) -> bool:
        """Whether a sweep advances a trace."""
        return trace in self._traces

    @property
    def constants(self) -> list[Value]:
        """The values of parameters and weights that derivatives are remade from."""
        return list(dict.fromkeys(v for u in self.units if u.remade is not None for v in u.remade.constants))

    @property
    def sweeps(self) -> list[Sweep]:
        """Every sweep, unit by unit."""
        return [sweep for unit in self.units for sweep in unit.sweeps]


def chosen_for(sweep: Sweep, backend: Backend, picked: Mapping[Site, PickedSource]) -> Sweep:
    """A sweep with what the backend runs its pass by, which may be one that reads data where they are picked of."""
    source = picked.get(sweep.site) if sweep.data is sweep.site.data else None
    reading = sweep if source is None else replace(sweep, data=source.data, picked=source)
    choice = backend.choose(reading)
    return replace(sweep if choice.run is None else reading, choice=choice)


def chosen(
    unit: Unit, transition: Transition, uses: Uses, backend: Backend, overrides: Mapping[type[Operation], Override]
) -> Unit:
    """A unit, with what the backend runs the sweep over its history by."""
    unit = replace(unit, derivatives=Derivatives.of(transition, uses, overrides, unit.linear))
    return replace(unit, choice=backend.choose_history(unit))


def _left_behind(choice: Choice | None) -> Choice | None:
    """The choice for a history whose last step always stays pending: a loop of XLA's."""
    if choice is None or choice.run is None:
        return choice
    return Choice(kernel="xla", reason="some trace is not carried, so that a fold's last step stays pending")


class Matcher:
    """Whether an advance and all uses of its values are the pattern."""

    def __init__(self, transition: Transition, plan: Plan, uses: Uses) -> None:
        """Prepare for the operations of one plan."""
        self.transition, self.plan, self.uses = transition, plan, uses
        self.trace_of = {trace.before: trace for trace in plan.traces}
        self.vjp = next((op for op in plan.at_window if type(op) is Vjp), None)
        self.carried = _depending(plan)

    def match(self, op: Operation) -> Sweep | None:
        """The sweep of one operation; None where something about it is not the pattern's."""
        if type(op) is not Advance or type(op.add) is not Outer or op.inflow:
            return None
        by, add = op.by, op.add
        if type(by) is not Neighbourhood and (type(by) is not Diagonal or by.at_output):
            return None
        association, reach = by.association, by.reach if type(by) is Neighbourhood else None
        traces = [self.trace_of.get(value) for value in op.trace]
        alike = by.alike if type(by) is Diagonal else ""
        if add.association is not association or (add.reach, add.alike) != (reach, alike) or None in traces:
            return None
        if type(by) is Neighbourhood and by.gathers:
            return None  # a product of such steps is as sparse no more, and a matrix between many slots
        advanced = all(t is not None and t.after is after for t, after in zip(traces, op.results, strict=True))
        local = not self.carried.intersection(
            [*by.factors, *(f for f in add.factors if f), *([add.data] if add.data else [])]
        )
        contract = self._contraction(op, add.placement)
        if not advanced or not local or contract is None or len(set(by.pairs)) != len(by.pairs):
            return None
        states = self._states(contract)
        pairs = [(states[i], states[j]) for i, j in by.pairs]
        return Sweep(
            advance=op,
            contract=contract,
            traces=tuple(t for t in traces if t is not None),
            states=states,
            jacobians=dict(zip(pairs, by.factors, strict=True)),
            factors={states[k]: f for k, f in enumerate(add.factors) if f is not None},
            data=add.data,
            placement=add.placement,
            couplings=dict(zip(pairs, by.couplings, strict=True)) if type(by) is Neighbourhood else None,
        )

    def _states(self, contract: Contract) -> tuple[int, ...]:
        """For each array of a trace its state, as a place among the hidden states."""
        assert self.vjp is not None
        return tuple(self.vjp.results.index(c) for c in contract.cotangents)

    def _one_reader(self, op: Advance, place: Placement) -> Contract | None:
        """The contraction that alone reads the entering trace, beside its advance; none reads the one that leaves."""
        readers = {reader for value in op.trace for reader in self.uses.of(value)} - {op}
        if any(self.uses.of(value) for value in op.results) or len(readers) != 1:
            return None
        (read,) = readers
        if (
            type(read) is not Contract
            or read.trace != op.trace
            or (read.reach, read.alike) != (place.reach, place.alike)
        ):
            return None
        once = all(len(self.uses.of(value)) == 2 for value in op.trace)
        right = read.association is getattr(op.by, "association", None) and len(set(read.cotangents)) == len(op.trace)
        return read if once and right else None

    def _contraction(self, op: Advance, place: Placement) -> Contract | None:
        """The one contraction that reads the trace, and whose result only the pull-back takes, for the right weight."""
        read = self._one_reader(op, place)
        if read is None or self.vjp is None:
            return None
        hidden = self.vjp.results[: len(self.transition.hidden)]
        if any(c not in hidden for c in read.cotangents):
            return None
        takers = self.uses.of(read.results[0])
        if len(takers) != 1 or type(takers[0]) is not Pullback:
            return None
        places = [k for k, v in enumerate(takers[0].on_weights) if v is read.results[0]]
        weight = read.association.site.weight
        return read if len(places) == 1 and takers[0].weights[places[0]] is weight else None


def _depending(plan: Plan) -> set[Value]:
    """The values of a step that depend on a trace or on the loss."""
    found = {value for trace in plan.traces for value in (trace.before, trace.after)}
    for op in plan.step:
        if isinstance(op, LossSignal) or found.intersection(op.operands):
            found.update(op.results)
    return found


def _units(sweeps: list[Sweep]) -> list[Unit]:
    """Sweeps of one group together, where each one's states are closed under the others' Jacobians."""
    parts: list[list[Sweep]] = []
    for sweep in sweeps:
        for part in parts:
            if _ground(part[0]) == _ground(sweep) and _agree([*part, sweep]):
                part.append(sweep)
                break
        else:
            parts.append([sweep])
    return [
        Unit(
            group=part[0].placement.association.group,
            states=tuple(sorted({k for s in part for k in s.states})),
            jacobians={pair: v for s in part for pair, v in s.jacobians.items()},
            sweeps=tuple(part),
        )
        for part in parts
    ]


def _ground(sweep: Sweep) -> Any:
    """What the sweeps of a unit share: the group, and where they are followed, the positions and those that are fed."""
    association = sweep.placement.association
    if sweep.couplings is None:
        return association.group
    return association.group, sweep.placement.followed, association.union, sweep.states, tuple(sweep.couplings.items())


def _agree(sweeps: list[Sweep]) -> bool:
    """Whether one matrix serves all: equal entries, and no entry leads out of a sweep's states and back."""
    union: dict[Pair, Value] = {}
    for sweep in sweeps:
        for pair, value in sweep.jacobians.items():
            if union.setdefault(pair, value) is not value:
                return False
    return all(
        set(sweep.jacobians) == {p for p in union if p[1] in sweep.states}
        and all(of in sweep.states for of, on in union if on in sweep.states)
        for sweep in sweeps
    )
