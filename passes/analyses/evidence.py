"""What the data-flow says of one parameter: its traces, and every path that they do not follow."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from ...coupling import Coupling
from ...ir import jaxpr as jx
from ...ir.dataflow import HIDDEN, Held
from ...ir.plan.links import is_closed, positions_of
from ...ir.regions import STEP
from ...ir.transition import Association, Group, Param, Reason, Site, State, StateKind, Transition, Weight
from .carried import Carried
from .credit import Credit
from .dataflow import analyse_dataflow, describe
from .reach import Reach
from .recalled import Recalled
from .rounding import Roundings
from .tails import kept_sources
from .variables import site_variable, state_variables
from .ways_onward import WaysOnward


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """How one parameter reaches the hidden states."""

    reaches: bool
    """Whether it reaches a hidden state at all."""
    traced: tuple[Association, ...]
    """The associations of its weights that have a trace."""
    dropped: tuple[Reason, ...]
    """Every path from it to a hidden state that positional traces do not follow."""
    buffers: tuple[Reason, ...]
    """Every path through a floating-point state that was declared not hidden."""


class Evidence:
    """The data-flow of one transition in one scope, asked about its parameters."""

    def __init__(self, transition: Transition, scope: str = HIDDEN) -> None:
        """Prepare to answer for `transition`, whose couplings are classified."""
        self.transition = transition
        self.flow = analyse_dataflow(transition, scope)
        self.variables = state_variables(transition)
        self.equations = jx.equations(transition.region(STEP).body)
        self.weight_variables = dict(zip(transition.weights, self.flow.prologue.frontier, strict=True))
        self.reach = Reach(transition, self.flow)
        live = self.reach.live()
        self.read_states = [state for state in transition.hidden if state in live]
        """The hidden states that an output ever depends on; what reaches others only is missed by nobody."""
        self.after_hidden = [self.variables[state][1] for state in self.read_states]
        self.to_hidden = self.flow.reaching(self.after_hidden)
        self.weights_of: dict[Param, list[Weight]] = {}
        for weight in transition.weights:
            for param in weight.params:
                self.weights_of.setdefault(param, []).append(weight)
        self.sites_of: dict[Weight, list[Site]] = {}
        for site in transition.sites:
            self.sites_of.setdefault(site.weight, []).append(site)
        self.associations_of: dict[Site, list[Association]] = {}
        for association in (a for a in transition.every_association if a.group.region == scope):
            self.associations_of.setdefault(association.site, []).append(association)
        self._of_group: dict[Any, tuple[Reason, ...]] = {}
        self._diagonals: dict[Any, frozenset[Any]] = {}
        self.roundings = Roundings(transition, self.flow, self.read_states)

    def of(
        self,
        param: Param,
        carried: Mapping[Association, Carried] | None = None,
        whole: Collection[Site] = (),
        recalled: Mapping[Association | Site, Recalled] = MappingProxyType({}),
        crossing: Collection[Site] = (),
    ) -> Finding:
        """How `param` reaches the hidden states that outputs depend on, and what is not carried on from them.

        `carried` are the associations that a plan follows; without it, every one that has a positional trace. `whole`
        are the uses that it follows by every path, nothing held; `recalled` what it follows into memories besides;
        those in `crossing` it follows through the sites that have their output for data, to where these lead.
        """
        weights = self.weights_of.get(param, [])
        own = [site for weight in weights for site in self.sites_of.get(weight, ())]
        crossed = self.crossed(crossing)
        sites = list(dict.fromkeys([*own, *(other for _, other in crossed)]))
        of_sites = [a for site in sites for a in self.associations_of.get(site, ())]
        followed = {a: Carried() for a in of_sites if a.traced} if carried is None else carried
        followed = {a: c for a, c in followed.items() if self._is_read(a.group)}
        dropped = [*self._plain_uses(weights), *self._beside_the_traces(sites, whole, followed, recalled, crossed)]
        sources = self.sources_of(param)
        buffers = self._through_buffers(sources)
        taken: dict[Site, frozenset[tuple[State, State]]] = {}
        for a, c in followed.items():
            taken[a.site] = taken.get(a.site, frozenset()) | c.taken
        for a, c in followed.items():
            dropped += self._recurrence(a.group, c.of(a), self._kept(a, c), taken[a.site], recalled.get(a))
        for group, into in dict.fromkeys(pair for r in recalled.values() for pair in r.onward):
            dropped += self._recurrence(group, group.states, 1, into=into)
        reaches = any(source in self.to_hidden for source in sources)
        return Finding(
            reaches=reaches or bool(buffers),
            traced=tuple(a for a in of_sites if a in followed),
            dropped=tuple(dict.fromkeys(dropped)),
            buffers=buffers,
        )

    def crossed(self, crossing: Iterable[Site]) -> list[tuple[Site, Site]]:
        """Some sites, each with every site that has its output for data, and these with theirs in turn."""
        found: list[tuple[Site, Site]] = []
        for site in crossing:
            onward = [other for other in self.transition.sites if other.data is not None and other.data is site.output]
            found += [*((site, other) for other in onward), *self.crossed(onward)]
        return found

    def reaches_states(self, param: Param) -> bool:
        """Whether `param` reaches a hidden state, an output's or not, at once or later by way of buffers."""
        return not self._to_states.isdisjoint(self.sources_of(param))

    def sources_of(self, param: Param) -> list[Any]:
        """The variables of a parameter's weights and of the outputs of their sites."""
        weights = self.weights_of.get(param, [])
        sites = [site for weight in weights for site in self.sites_of.get(weight, ())]
        return [self.weight_variables[w] for w in weights] + [site_variable(self.transition, s) for s in sites]

    @cached_property
    def _to_states(self) -> set[Any]:
        """Every source that reaches some hidden state in some number of steps."""
        found = self.flow.reaching(self.variables[state][1] for state in self.transition.hidden)
        buffers = [s for s in self.transition.states if s.kind is StateKind.BUFFER]
        waiting = {self.variables[b][0]: self.flow.reaching([self.variables[b][1]]) for b in buffers}
        while arrived := found.intersection(waiting):
            for before in arrived:
                found |= waiting.pop(before)
        return found

    def uses_plainly(self, weights: Iterable[Weight]) -> bool:
        """Whether some weight is used by anything but an ETP operation."""
        variables = {self.weight_variables[w] for w in weights}
        users = [e for e in self.equations if e.primitive.name != "etp"]
        return any(a in variables for e in users for a in e.invars if not jx.is_literal(a))

    def _is_read(self, group: Group) -> bool:
        return any(state in self.read_states for state in group.states)

    def _kept(self, association: Association, carried: Carried) -> int | None:
        """To how many positions the recurrence is followed at most; None where that is all that it leads to."""
        if not carried.moving or carried.reach is None:
            return 1
        states = carried.of(association)
        if is_closed(carried.reach, [d.coupling for d in association.group.jacobian if d.on in states]):
            return None
        return positions_of(carried.reach).shape[-1]

    def _plain_uses(self, weights: Iterable[Weight]) -> Iterator[Reason]:
        for weight in weights:
            var = self.weight_variables[weight]
            if var not in self.to_hidden:
                continue
            for state in self.read_states:
                if self.variables[state][1] is var:
                    yield Reason(text=f"becomes '{state.path}' without an ETP operation", loc=state.loc)
            users = [e for e in self.equations if e.primitive.name != "etp" and any(a is var for a in e.invars)]
            for eqn in users:
                onward = [v for v in eqn.outvars if v in self._toward_hidden]
                if any(source in self.to_hidden for v in onward for source in self.flow.of(v)):
                    text = f"used by a plain {describe(eqn)}, not by an ETP operation"
                    yield Reason(text=text, loc=jx.location(eqn))

    @cached_property
    def _toward_hidden(self) -> set[Any]:
        """The variables from which some hidden state is reached that outputs depend on."""
        return self._credit.leading_to(self.after_hidden)

    @cached_property
    def _credit(self) -> Credit:
        return Credit(self.transition.region(STEP).body)

    def _beside_the_traces(
        self,
        sites: Iterable[Site],
        whole: Collection[Site],
        followed: Mapping[Association, Carried],
        recalled: Mapping[Association | Site, Recalled],
        crossed: Collection[tuple[Site, Site]],
    ) -> Iterator[Reason]:
        for site in sites:
            if site not in whole:
                into = [recalled.get(a) for a in self.associations_of.get(site, ())]
                over = [site_variable(self.transition, other) for one, other in crossed if one is site]
                yield from self._beside_the_trace(site, followed, [r for r in (recalled.get(site), *into) if r], over)

    def _beside_the_trace(
        self, site: Site, followed: Mapping[Association, Carried], recalled: Sequence[Recalled], crossed: Sequence[Any]
    ) -> Iterator[Reason]:
        """The paths from a site's output that its traces do not follow; those to what is `crossed` they do."""
        var = site_variable(self.transition, site)
        associations = [a for a in self.associations_of.get(site, ()) if self._is_read(a.group)]
        for association in associations:
            names = _names(association.group.states)
            if association not in followed and any(association.couplings):
                reason = "no trace follows it to {}" if association.traced else "feeds too many positions of {} at once"
                yield Reason(text=reason.format(names), loc=site.loc)
        also = "also reaches" if any(a in followed for a in associations) else "reaches"
        for held in self._useful(var):
            if held.var in crossed or any(self.onward.follows(held, var, into) for into in recalled):
                continue
            only = "" if also.startswith("also") else "only "
            text = f"{also} {self._targets(held)} {only}through {self._crossed(held)}"
            yield Reason(text=text if only else text + self._kept_of(held, var), loc=held.crossing.loc)

    def _crossed(self, held: Held) -> str:
        """What credit would have to cross, with the weight that it crosses by where there is one."""
        crossing, eqn = held.crossing, self.equations[held.equation]
        paths = [
            f"'{self.transition.params[k].path}'"
            for atom in eqn.invars
            if not jx.is_literal(atom)
            for k in self.flow.prologue.params_of.get(atom, ())
        ]
        if not paths or describe(eqn) != crossing.operation:
            return str(crossing)
        return f"{crossing.operation} with {' and '.join(dict.fromkeys(paths))} ({crossing.why})"

    def _kept_of(self, held: Held, source: Any) -> str:
        """What is followed of the way from a source through a held value, in words; nothing where nothing is."""
        if held.var not in self._diagonals:
            self._diagonals[held.var] = kept_sources(
                self._credit, held.var, self.flow.held, self.flow.tails, self.after_hidden
            )
        known = source in self._diagonals[held.var]
        return ": its diagonal is kept, the off-diagonal part, rank one, is dropped" if known else ""

    def _useful(self, source: Any) -> list[Held]:
        return [held for held in self.flow.readers.get(source, ()) if held.var in self.to_hidden]

    def _targets(self, held: Held) -> str:
        """The hidden states that a held value reaches in the same step, in words."""
        reached = self._reached(held)
        return _names(reached) if reached else "a hidden state"

    def _reached(self, held: Held) -> list[State]:
        """The hidden states that depend on a held value without anything held between."""
        return self._readers_of.get(held.var, [])

    def _recurrence(
        self,
        group: Group,
        states: tuple[State, ...],
        kept: int | None,
        taken: frozenset[tuple[State, State]] = frozenset(),
        into: Recalled | None = None,
    ) -> tuple[Reason, ...]:
        """What is dropped when a trace on states of `group` is carried through the step, to so many positions.

        `taken` are the pairs of an old state and a new one of another group whose traces take it in.
        """
        key = (group, states, kept, taken, into)
        if key not in self._of_group:
            found = (reason for state in states for reason in self._leaving(state, group, kept, taken, into))
            self._of_group[key] = tuple(dict.fromkeys(found))
        return self._of_group[key]

    def _leaving(
        self,
        state: State,
        group: Group,
        kept: int | None,
        taken: frozenset[tuple[State, State]],
        into: Recalled | None,
    ) -> Iterator[Reason]:
        before = self.variables[state][0]
        for held in self._useful(before):
            if into is not None and self.onward.follows(held, before, into):
                continue
            reached = self._reached(held)
            elsewhere = bool(reached) and not set(reached) & set(group.states)
            what = f"path from '{state.path}' to {_names(reached)}" if elsewhere else f"recurrence of '{state.path}'"
            rest = self._kept_of(held, before) or " is dropped"
            yield Reason(text=f"{what} through {self._crossed(held)}{rest}", loc=held.crossing.loc)
        for other in self._readers_of.get(before, ()):
            if other not in group.states and (state, other) not in taken:
                yield Reason(text=f"'{state.path}' feeds '{other.path}', a state of another group", loc=other.loc)
        for dependence in group.jacobian:
            if dependence.on is state and dependence.coupling.has_off_diagonal and kept is not None:
                yield Reason(text=self._moves(state, group, dependence.coupling, kept), loc=dependence.of.loc)

    def _moves(self, state: State, group: Group, coupling: Coupling, kept: int) -> str:
        text = f"recurrence of '{state.path}' moves between positions {coupling.brief()}"
        silent = kept == 1 and group.region == HIDDEN
        return text if silent else f"{text}, and is followed to {kept} of {math.prod(group.shape)}"

    @cached_property
    def onward(self) -> WaysOnward:
        """Where what is shown goes within the step."""
        return WaysOnward(self.transition, self.flow, self.read_states)

    @cached_property
    def _readers_of(self) -> dict[Any, list[State]]:
        """For each source, the hidden states that depend on it without anything held between."""
        found: dict[Any, list[State]] = {}
        for state in self.read_states:
            for source in self.flow.of(self.variables[state][1]):
                found.setdefault(source, []).append(state)
        return found

    def _through_buffers(self, sources: Iterable[Any]) -> tuple[Reason, ...]:
        """The buffers that credit from `sources` comes to, at once or later, by way of hidden states."""
        if not self._buffer_reach:
            return ()
        found = self._over_time(sources)
        return tuple(
            Reason(text=f"credit through '{buffer.path}', declared not hidden, is dropped", loc=buffer.loc)
            for buffer, reached_from in self._buffer_reach
            if not found.isdisjoint(reached_from)
        )

    def _over_time(self, sources: Iterable[Any]) -> set[Any]:
        """These sources, and the old value of every hidden state that they reach in some number of steps."""
        found = set(sources)
        waiting = dict(self._hidden_reach)
        while arrived := [before for before, reached_from in waiting.items() if not found.isdisjoint(reached_from)]:
            found.update(arrived)
            for before in arrived:
                del waiting[before]
        return found

    @cached_property
    def _hidden_reach(self) -> dict[Any, set[Any]]:
        """For the old value of each hidden state, every source that reaches the new one."""
        ends = (self.variables[state] for state in self.transition.hidden)
        return {before: self.flow.reaching([after]) for before, after in ends}

    @cached_property
    def _buffer_reach(self) -> list[tuple[State, set[Any]]]:
        """The buffers that come to a hidden state or an output at some step, each with every source that reaches it."""
        buffers = [state for state in self.transition.states if state.kind is StateKind.BUFFER]
        if not buffers:
            return []
        waiting = {b: self.flow.reaching([self.variables[b][1]]) for b in buffers}
        body = self.transition.region(STEP).body
        read = self.flow.reaching([*self.after_hidden, *jx.outvars(body)[len(self.transition.states) :]])
        found: list[tuple[State, set[Any]]] = []
        while arrived := [b for b in waiting if self.variables[b][0] in read]:
            found += [(b, waiting.pop(b)) for b in arrived]
            read = read.union(*(reached_from for _, reached_from in found))
        return sorted(found, key=lambda each: buffers.index(each[0]))


def _names(states: Iterable[State]) -> str:
    return " and ".join(f"'{state.path}'" for state in states)
