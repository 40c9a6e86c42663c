"""Which held values within a step are followed by what is read of the values that the step shows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from ...coupling.primitives import equation_couplings
from ...ir import jaxpr as jx
from ...ir.dataflow import Dataflow, Held
from ...ir.observable import Observable
from ...ir.transition import Site, State, Transition
from .observables import Paths
from .recalled import Recalled
from .variables import site_variable, state_variables


class WaysOnward:
    """The paths of one step from what it shows to new hidden states."""

    def __init__(self, transition: Transition, flow: Dataflow, states: Sequence[State]) -> None:
        """Prepare for `transition`, of whose hidden states `states` are ever read."""
        self.transition, self.flow = transition, flow
        self.home = {state: group for group in transition.groups for state in group.states}
        variables = state_variables(transition)
        self.ends = [(state, variables[state][1]) for state in states]
        self._past: dict[tuple[Any, frozenset[Any]], set[Any]] = {}

    @cached_property
    def paths(self) -> Paths:
        """The paths of the step."""
        return Paths(self.transition)

    def follows(self, held: Held, source: Any, into: Recalled) -> bool:
        """Whether every path from a source through a held value to a new hidden state goes by way of what is shown.

        Such a path ends in the memories that are followed.
        """
        if held.var in self._beside(source, into):
            return False
        for state, after in self.ends:
            reads = any(held.var in self._before(u) for u in self.flow.of(after))
            if reads and self.home.get(state) not in into.groups:
                return False
        return True

    def _before(self, source: Any) -> set[Any]:
        """The source itself, and all that comes to it through held values."""
        return self.flow.reaching([source]) | {source}

    def _beside(self, source: Any, into: Recalled) -> set[Any]:
        """The variables that a source comes to by some path past what is shown."""
        sites = {site_variable(self.transition, s) for s in into.shown if isinstance(s, Site)}
        if source in sites:
            return set()
        key = (source, into.shown)
        if key not in self._past:
            shown = [o for o in into.shown if isinstance(o, Observable)]
            uses = {(o.variable, place) for o in shown for place in o.uses}
            found = {source}
            for eqn in self.paths.equations:
                place = self.paths.place[eqn.outvars[0]] if eqn.outvars else None
                for var, couplings in zip(eqn.outvars, equation_couplings(eqn), strict=True):
                    pairs = zip(eqn.invars, couplings, strict=True)
                    passing = [a for a, c in pairs if c is not None and not jx.is_literal(a) and a in found]
                    if any((a, place) not in uses for a in passing):
                        found.add(var)
            self._past[key] = found
        return self._past[key]
