"""New states whose derivatives a plan computes anyway: reverse mode takes these, and not the step's own once more.

Where a state's new value is made of nothing but old states of its group, position by position, and outputs of sites
with traces, its derivatives are the Jacobians and the sensitivities of the plan.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from ...ir import jaxpr as jx
from ...ir.plan import Jacobian, Sensitivity
from ...ir.plan.jacobian import hidden_operands
from ...ir.regions import FORWARD, variables_of
from ...ir.transition import Region, Site, State, Transition
from ..backend import Uses
from .family import Family
from .pattern import Unit
from .replay import Slope, Slopes


class Source(NamedTuple):
    """One of the things that a new state is made of: an old state, or a site's output."""

    variable: Any
    state: int | None
    """The old state's place among those of the unit."""
    sweep: int | None
    """The place of the site's sweep in the unit."""


Cell: TypeAlias = Mapping[int, tuple[Any, Sequence[Source]]]
"""A unit's new states by their places among those of the unit: the variable, and what it is made of."""


class Cells:
    """The new states of a step with known derivatives."""

    def __init__(
        self,
        transition: Transition,
        region: Region,
        families: Sequence[Family],
        uses: Uses,
        moved: Collection[Any],
    ) -> None:
        """Find them among the variables of `region`, which stands for the step; `moved` are those with derivatives."""
        finder = _Finder(transition, region, uses, moved)
        self.of = [(family, _alike([finder.cell(unit) for unit in family.units])) for family in families]

    def slopes(self, linearised: Sequence[tuple[Any, Any]]) -> Slopes:
        """The derivatives, of each family's Jacobians and sensitivities.

        Of each variable once: states that share one also share its cotangent, which is what all of them received.
        """
        found: dict[Any, list[Slope]] = {}
        for (family, cells), (jacobians, sensitive) in zip(self.of, linearised, strict=True):
            for of, (_, sources) in (cells[0] if cells else {}).items():
                own = [cell[of] for cell in cells]
                variables = [variable for variable, _ in own]
                new = [v not in found and v not in variables[:k] for k, v in enumerate(variables)]
                for k, source in enumerate(sources):
                    slopes, received = _whole(family.unit, of, source, jacobians, sensitive)
                    for (variable, made_of), first, slope in zip(own, new, family.apart(slopes), strict=True):
                        if first:
                            found.setdefault(variable, []).append(Slope(made_of[k].variable, slope, received))
        return found


def _whole(unit: Unit, of: int, source: Source, jacobians: Any, sensitive: Any) -> tuple[Any, Any]:
    """The derivative of a new state by a source, and what it makes of a cotangent."""
    if source.sweep is None:
        assert source.state is not None
        return jacobians[unit.states[of], unit.states[source.state]], operator.mul
    sweep = unit.sweeps[source.sweep]
    return sensitive[source.sweep][unit.states[of]], partial(unit.algebra.received, sweep)


def _alike(cells: Sequence[Cell]) -> Sequence[Cell]:
    """The cells of a family's units; none where they are not all of the same form."""
    forms = [{of: [source[1:] for source in sources] for of, (_, sources) in cell.items()} for cell in cells]
    return cells if all(form == forms[0] for form in forms) else ()


class _Finder:
    """Looks for what new states are made of, back to what the region of hidden states takes."""

    def __init__(self, transition: Transition, region: Region, uses: Uses, moved: Collection[Any]) -> None:
        self.transition, self.region, self.uses, self.moved = transition, region, uses, moved
        self.producers = jx.Producers(region.body)
        self.variable_of = variables_of(region)

    def cell(self, unit: Unit) -> Cell:
        """The new states of a unit whose derivatives are known."""
        if self.region.name != FORWARD or unit.sweeps[0].couplings is not None:
            return {}
        operands = hidden_operands(self.transition, unit.group.region)
        held = {self.variable_of[value] for value in operands if value in self.variable_of}
        sources = {of: self._sources(unit, place, held) for of, place in enumerate(unit.states)}
        return {of: found for of, found in sources.items() if found is not None}

    def _sources(self, unit: Unit, place: int, held: set[Any]) -> tuple[Any, Sequence[Source]] | None:
        """The variable of a new state, and what it is made of; None where some derivative is not known."""
        state = self.transition.hidden[place]
        variable = self.variable_of[state.after]
        reached = None if jx.is_literal(variable) or variable in held else self._reached(variable, held)
        if reached is None:
            return None
        known = {self.variable_of[self.transition.hidden[on].before]: (k, None) for k, on in self._states(unit, place)}
        sites = [(k, site) for k, site in self._sites(unit, place) if site.output in self.variable_of]
        known |= {self.variable_of[site.output]: (None, k) for k, site in sites}
        if not all(var in known and jx.dtype_of(var) == jx.dtype_of(variable) for var in reached):
            return None
        return variable, [Source(var, *known[var]) for var in reached]

    def _reached(self, variable: Any, held: set[Any]) -> list[Any] | None:
        """What is held of all that moves a variable; None where it is reached in a way that has no known derivative."""
        found, pending, seen = dict[Any, None](), [variable], set[Any]()
        while pending:
            var = pending.pop()
            if var in seen or var not in self.moved:
                continue
            seen.add(var)
            if var in held:
                found[var] = None
                continue
            eqn = self.producers.producer(var)
            if eqn is None or eqn.effects or (var is variable and len(eqn.outvars) > 1):
                return None
            pending += [atom for atom in eqn.invars if not jx.is_literal(atom)]
        return list(found)

    def _states(self, unit: Unit, place: int) -> Iterator[tuple[int, int]]:
        """The old states, by their places in the unit and among hidden states, with a known derivative of a new one."""
        hidden, group = self.transition.hidden, unit.group
        for k, on in enumerate(unit.states):
            value = unit.jacobians.get((place, on))
            op = None if value is None else self.uses.maker.get(value)
            if type(op) is not Jacobian or op.group is not group or op.entire or not _of_type(value, hidden[place]):
                continue
            pair = group.states.index(hidden[place]), group.states.index(hidden[on])
            if op.pairs[op.results.index(value)] == pair and op.coupling(*pair).is_identity:
                yield k, on

    def _sites(self, unit: Unit, place: int) -> Iterator[tuple[int, Site]]:
        """The sites, by their sweeps' places in the unit, with a known derivative of a new state."""
        state = self.transition.hidden[place]
        of = unit.group.states.index(state)
        for k, sweep in enumerate(unit.sweeps):
            value = sweep.factors.get(place)
            op = None if value is None else self.uses.maker.get(value)
            if type(op) is not Sensitivity or op.association.group is not unit.group or not _of_type(value, state):
                continue
            if op.association.site is sweep.site and op.states[op.results.index(value)] == of:
                yield k, sweep.site


def _of_type(derivative: Any, state: State) -> bool:
    """Whether a derivative is real, and of a state's own element type: it then multiplies cotangents as they are."""
    return not derivative.type.is_complex and derivative.type.dtype == state.after.type.dtype
