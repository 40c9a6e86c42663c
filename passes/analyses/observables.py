"""What a step shows of its hidden groups: the last values that are functions of them position by position."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...coupling import Coupling
from ...ir import jaxpr as jx
from ...ir.observable import Observable
from ...ir.transition import Group, Site, Transition
from .slicer import Slicer
from .variables import state_variables

OUT = None
"""An output of the step, among the places that a path may lead to."""


class Paths:
    """Where the paths of one step lead: to new states, group by group, and to its outputs."""

    def __init__(self, transition: Transition) -> None:
        """Follow every value of the step, forwards and back."""
        self.transition, self.slicer = transition, Slicer(transition)
        slicer, states = self.slicer, state_variables(transition)
        self.equations = [e for k, e in enumerate(slicer.equations) if k not in slicer.flow.prologue.equations]
        self.place = {var: k for k, eqn in enumerate(slicer.equations) for var in eqn.outvars}
        atoms = slicer.results[len(transition.states) :]
        self.output_places = [k for k, o in enumerate(transition.outputs) if o.value.type.carries_credit]
        self.outputs = [atoms[k] for k in self.output_places]
        self.old: dict[Any, Group] = {states[s][0]: g for g in transition.groups for s in g.states}
        """The variables of old hidden states."""
        self.news: dict[Any, Group] = {}
        """The variables of new hidden states that the step computes."""
        for group in transition.groups:
            for state in group.states:
                if not jx.is_literal(states[state][1]) and states[state][1] in self.place:
                    self.news[states[state][1]] = group
        self.fed: dict[Any, list[Group]] = {}
        """The variables of the outputs of sites with traces, and the groups that these are on."""
        of_site = {site: var for var, site in slicer.sites.items()}
        for association in transition.associations:
            if association.traced:
                self.fed.setdefault(of_site[association.site], []).append(association.group)
        self.hidden = [states[s][1] for s in transition.hidden]
        """The new hidden states."""
        self.free = [var for var in slicer.sites if var not in self.fed]
        """The variables of the outputs of sites without traces."""
        self.leads = self._leads()
        self.after = self._after()

    def _leads(self) -> dict[Any, frozenset[Group | None]]:
        """The groups whose new states each value leads to, and `OUT` where it leads to an output."""
        found: dict[Any, frozenset[Group | None]] = {}

        def add(atom: Any, ends: Iterable[Group | None]) -> None:
            if not jx.is_literal(atom):
                found[atom] = found.get(atom, frozenset()).union(ends)

        for atom in self.outputs:
            add(atom, [OUT])
        for var, group in self.news.items():
            add(var, [group])
        for eqn in reversed(self.equations):
            ends: frozenset[Group | None] = frozenset().union(*(found.get(var, ()) for var in eqn.outvars))
            for atom in eqn.invars if ends else ():
                add(atom, ends)
        return found

    def _after(self) -> dict[Any, frozenset[Group]]:
        """The groups whose new states each value is computed from."""
        found: dict[Any, frozenset[Group]] = {}
        for eqn in self.equations:
            groups = frozenset[Group]().union(*(found.get(a, ()) for a in eqn.invars if not jx.is_literal(a)))
            for var in eqn.outvars:
                found[var] = groups | {self.news[var]} if var in self.news else groups
        return found

    def sources(self, atom: Any) -> set[Group]:
        """The groups whose old states, or whose sites, a value depends on with nothing held between."""
        found: set[Group] = set()
        for source in self.slicer.flow.of(atom):
            found.update([self.old[source]] if source in self.old else self.fed.get(source, ()))
        return found

    def recurs(self, atom: Any, results: Iterable[Any]) -> bool:
        """Whether one of some results, made of a value, leads back to the new states of the value's own groups."""
        own = self.sources(atom)
        return any(not own.isdisjoint(self.leads.get(var, ())) for var in results)

    def group_of(self, var: Any) -> Group | None:
        """The group that a value is a function of, position by position; None where it is not of one alone."""
        if jx.is_literal(var) or not jx.type_of(var).carries_credit:
            return None
        deps = self.slicer.flow.of(var)
        old = {self.old[source] for source in deps if source in self.old}
        if old:
            same = all(coupling.is_identity for source, coupling in deps.items() if source in self.old)
            (group,) = old if len(old) == 1 and same else (None,)
            return group if group is not None and group.shape == jx.shape_of(var) else None
        fed = [group for source in deps for group in self.fed.get(source, ())]
        return next((group for group in fed if group.shape == jx.shape_of(var)), None)

    def is_local(self, var: Any) -> bool:
        """Whether an equation makes its result of a group position by position, so that paths go on through it."""
        return var not in self.slicer.flow.held and self.group_of(var) is not None

    def couplings(self, var: Any) -> dict[Site, Coupling]:
        """How a value depends on the outputs of sites, nothing held between."""
        return {self.slicer.sites[v]: c for v, c in self.slicer.flow.of(var).items() if v in self.slicer.sites}


def observables(paths: Paths) -> tuple[Observable, ...]:
    """The observables of every group that has traces, group by group.

    A value that only feeds the recurrence of its own group, as the old spikes of a recurrent layer do, is none. A
    group that shows nothing has its new states for observables.
    """
    uses: dict[Any, set[int]] = {}
    for eqn in paths.equations:
        for var in dict.fromkeys(a for a in eqn.invars if not jx.is_literal(a)):
            group = paths.group_of(var)
            if group is not None and _shows(paths, var, group, eqn):
                uses.setdefault(var, set()).add(paths.place[eqn.outvars[0]])
    for k, atom in zip(paths.output_places, paths.outputs, strict=True):
        if paths.group_of(atom) is not None:
            uses.setdefault(atom, set()).add(-1 - k)
    found: list[Observable] = []
    for group in dict.fromkeys(g for groups in paths.fed.values() for g in groups):
        own = [var for var in uses if paths.group_of(var) is group]
        own = own or [var for var, of in paths.news.items() if of is group and paths.group_of(var) is group]
        found += [_observable(paths, var, group, uses.get(var, set())) for var in own]
    return tuple(sorted(found, key=lambda o: o.group.index))


def _shows(paths: Paths, var: Any, group: Group, eqn: Any) -> bool:
    """Whether an equation makes something of a value that is no function of a group position by position."""
    for result in eqn.outvars:
        if not paths.slicer.flow.of(result) or paths.is_local(result):
            continue
        ends = paths.leads.get(result, frozenset())
        if ends and (group not in ends or group in paths.after.get(var, ())):
            return True
    return False


def _observable(paths: Paths, var: Any, group: Group, uses: set[int]) -> Observable:
    return Observable(group=group, type=jx.type_of(var), variable=var, uses=frozenset(uses), sites=paths.couplings(var))
