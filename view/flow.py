"""Which items of a transition feed which: the data flow of one step between states, sites, inputs and outputs."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..ir import jaxpr as jx
from ..ir.transition import Association, Input, Output, Param, Region, Site, State, Transition
from ..ir.values import Value

Source: TypeAlias = Param | Input | State | Site
Target: TypeAlias = Site | State | Output


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Feed:
    """`source` reaches `target` without passing a site or another state's new value.

    `past` says that a state is read as the step before left it.
    """

    source: Source
    target: Target
    past: bool = False


def feeds(transition: Transition) -> tuple[Feed, ...]:
    """The data flow of a step; where the step's body is absent, what its sites and associations say of it."""
    region = next((r for r in transition.regions if r.name == "step"), None)
    found = _declared(transition) if region is None or region.body is None else _Walk(transition, region).feeds()
    unique = {(id(feed.source), id(feed.target), feed.past): feed for feed in found}
    return tuple(unique.values())


class _Walk:
    """One forward walk over the step: each variable holds the set of its sources, as the bits of an integer.

    A site's output and a state's new value are sources themselves: what follows them does not see further back.
    """

    def __init__(self, transition: Transition, region: Region) -> None:
        self.transition = transition
        self.region = region
        self.sources: list[tuple[Source, bool]] = []
        self.reached: dict[Any, int] = {}
        states = {id(state.after): state for state in transition.states}
        self.new: dict[Any, list[State]] = {}
        for value, atom in self._results():
            if id(value) in states:
                self.new.setdefault(atom, []).append(states[id(value)])

    def feeds(self) -> Iterator[Feed]:
        params = self._arguments()
        for var in list(self.reached):
            for state in self.new.get(var, ()):
                yield from self._feeding(self.reached[var], state)
        sites = {site.equation: site for site in self.transition.sites}
        for place, eqn in enumerate(jx.equations(self.region.body)):
            operands = [self.reached.get(atom, 0) for atom in eqn.invars if not jx.is_literal(atom)]
            site = sites.get(place)
            if site is None:
                self.reached.update(dict.fromkeys(eqn.outvars, functools.reduce(operator.or_, operands, 0)))
            else:
                for bits in operands:
                    yield from self._feeding(bits if bits & ~params else 0, site)
                self._begin(eqn.outvars[0], site)
            for var in eqn.outvars:
                yield from self._arrive(var)
        outputs = {id(output.value): output for output in self.transition.outputs}
        for value, atom in self._results():
            if id(value) in outputs:
                yield from self._feeding(self.reached.get(atom, 0), outputs[id(value)])

    def _results(self) -> list[tuple[Value, Any]]:
        pairs = zip(self.region.outputs, jx.outvars(self.region.body), strict=True)
        return [(value, atom) for value, atom in pairs if not jx.is_literal(atom)]

    def _arguments(self) -> int:
        """Begin with the step's arguments; the bits of the parameters among them."""
        owners, params = _owners(self.transition), 0
        for var, value in zip(jx.argument_vars(self.region.body), self.region.inputs, strict=True):
            owner = owners.get(id(value))
            if owner is not None:
                self._begin(var, owner, past=isinstance(owner, State))
                params |= self.reached[var] if isinstance(owner, Param) else 0
        return params

    def _begin(self, var: Any, source: Source, *, past: bool = False) -> None:
        self.reached[var] = 1 << len(self.sources)
        self.sources.append((source, past))

    def _arrive(self, var: Any) -> Iterator[Feed]:
        for state in self.new.get(var, ()):
            yield from self._feeding(self.reached.get(var, 0), state)
            self._begin(var, state)

    def _feeding(self, bits: int, target: Target) -> Iterator[Feed]:
        for k in _set_bits(bits):
            source, past = self.sources[k]
            yield Feed(source=source, target=target, past=past)


def _set_bits(bits: int) -> Iterator[int]:
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def _owners(transition: Transition) -> dict[int, Param | Input | State]:
    owners: dict[int, Param | Input | State] = {id(param.value): param for param in transition.params}
    owners |= {id(state.before): state for state in transition.states}
    return owners | {id(item.value): item for item in transition.inputs}


def _declared(transition: Transition) -> Iterator[Feed]:
    """What is known without a body: a site's data, where it is some item's value, and the associations."""
    owners = _owners(transition)
    made: dict[int, Source] = {id(site.output): site for site in transition.sites}
    made |= {id(state.after): state for state in transition.states}

    def feed(value: Value | None, target: Target) -> Iterator[Feed]:
        owner = owners.get(id(value)) or made.get(id(value))
        if owner is not None and owner is not target:
            yield Feed(source=owner, target=target, past=isinstance(owner, State) and value is owner.before)

    for site in transition.sites:
        yield from feed(site.data, site)
    for association in transition.associations:
        for state in reached_states(association):
            yield Feed(source=association.site, target=state)
    for group in transition.groups:
        for dependence in group.jacobian:
            yield Feed(source=dependence.on, target=dependence.of, past=True)
    for output in transition.outputs:
        yield from feed(output.value, output)


def reached_states(association: Association) -> list[State]:
    """The states of the group that the site's output reaches position by position."""
    pairs = zip(association.group.states, association.couplings, strict=True)
    return [state for state, coupling in pairs if coupling is not None]
