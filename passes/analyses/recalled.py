"""Which contributions are read off filtered traces by way of memories, and what such a reading follows, how truly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...ir.observable import Observable
from ...ir.plan import (
    Advance,
    Contract,
    Credit,
    Jacobian,
    Ones,
    Operation,
    Passed,
    Plain,
    Product,
    Recall,
    Scalar,
    Shows,
    Slopes,
    Times,
    Trace,
)
from ...ir.plan.exponentials import relative_error
from ...ir.plan.jacobian import real_dtype
from ...ir.plan.recall import Memory, carried
from ...ir.regions import ONWARD, SHOWN, SLOPES
from ...ir.transition import Association, Group, Reason, Site, Transition
from ...ir.types import TensorType
from ...ir.values import Value
from .exits import Exits
from .memories import Memories, Standing
from .positional import PositionalTraces
from .provenance import Provenance

Shown = Observable | Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What of one association, or of one site, is followed into memories."""

    shown: frozenset[Shown]
    """By way of which values: observables, or the site's own output."""
    groups: frozenset[Group]
    """Into which groups' states."""
    notes: tuple[Reason, ...] = ()
    """Why what is carried is not the derivative along these paths; none where it is."""
    onward: tuple[tuple[Group, Recalled], ...] = ()
    """What is followed from these memories on into others; nothing for a memory that is the last of its path."""


class RecalledTraces:
    """The pattern `F' = mu F + dz/dw`, for `E' = D E + f (x) x` or for data alone, read by what a recall gives."""

    def __init__(self, transition: Transition, provenance: Provenance, positional: PositionalTraces) -> None:
        """Prepare for the values of one plan."""
        self.transition, self.made, self.positional = transition, provenance, positional
        self.recalls = [op for op in provenance.plan.at_window if type(op) is Recall and self._is_whole(op)]
        self.exact_traces = {
            (op.association, op.trace)
            for op in map(provenance.source, provenance.pullback.on_weights)
            if self.recalls and type(op) is Contract and positional.followed(op) is not None
        }
        self.of_site: dict[Site, set[complex]] = {}

    @cached_property
    def exits(self) -> Exits:
        """What the step shows."""
        return Exits(self.transition)

    @cached_property
    def memories(self) -> Memories:
        """How groups remember."""
        return Memories(self.transition)

    def follows(self, op: Operation | None) -> Recalled | None:
        """What a contraction of an association's filtered traces follows; None where it is no such pattern."""
        if type(op) is not Contract or op.reach is not None or not op.cotangents:
            return None
        recall = next((r for r in self.recalls if set(op.cotangents) <= set(r.results)), None)
        if recall is None or len(set(op.cotangents)) < len(op.cotangents):
            return None
        places, found = self._places(recall), set[tuple[Shown, int]]()
        for value, cotangent in zip(op.trace, op.cotangents, strict=True):
            shown, r = places[recall.results.index(cotangent)]
            if not isinstance(shown, Observable) or not self._is_passed(op.association, value, shown, recall, r):
                return None
            found.add((shown, r))
        whole = {s for s, _ in found}
        if any((s, r) not in found for s, r in places if s in whole):
            return None
        return self._recalled(recall, frozenset(whole))

    def follows_site(self, op: Operation | None) -> Recalled | None:
        """What the products of a site's filtered data follow, once the last of its constants is read."""
        if type(op) is not Product or op.without:
            return None
        times = self.made.maker.get(op.cotangent)
        by_time = type(times) is Times and op.data is None
        cotangent, data = (times.value, times.by) if by_time else (op.cotangent, op.data)  # pyright: ignore[reportAttributeAccessIssue,reportOptionalMemberAccess]
        recall = next((r for r in self.recalls if cotangent in r.results), None)
        if recall is None or data is None:
            return None
        places = self._places(recall)
        shown, r = places[recall.results.index(cotangent)]
        filtered, mu = self._filtered(data), complex(*recall.constants[r])
        if shown is not op.site or filtered is None or filtered[0] != mu or mu in self.of_site.get(op.site, ()):
            return None
        right = type(self.made.maker.get(filtered[1])) is Ones if by_time else filtered[1] is op.site.data
        if not right:
            return None
        known = self.of_site.setdefault(op.site, set())
        known.add(mu)
        missing = [q for s, q in places if s is shown and complex(*recall.constants[q]) not in known]
        nothing = Recalled(shown=frozenset(), groups=frozenset())
        return nothing if missing else self._recalled(recall, frozenset([op.site]))

    def _places(self, recall: Recall) -> list[tuple[Shown, int]]:
        """What each result of a recall is of: what is shown, and the constant."""
        shown = self.exits.onward().shown
        kinds: list[TensorType] = [s.type if isinstance(s, Observable) else s.output.type for s in shown]
        return [(s, r) for s, k in zip(shown, kinds, strict=True) for r in carried(recall.constants, k)]

    def _recalled(self, recall: Recall, shown: frozenset[Shown]) -> Recalled:
        reached = self.exits.onward().reached()
        onward = dict(self._onward(recall))
        groups = {g for s in shown for g in reached[s]}.intersection(m.group for m in recall.memories)
        while more := {g for of in groups if of in onward for g in onward[of].groups} - groups:
            groups |= more
        notes = [note for m in recall.memories if m.group in groups for note in self._notes(recall, m)]
        for group in (m.group for m in recall.memories if m.group in groups and m.group in onward):
            text = f"what goes on from the memory of {_names(group)} into others is carried by the same exponentials"
            notes.append(Reason(text=text, loc=group.loc))
        if recall.slopes:
            notes.append(Reason(text="what differs between steps on the way to these memories is taken as a mean"))
        on = tuple((g, onward.get(g, Recalled(shown=frozenset(), groups=frozenset()))) for g in groups)
        return Recalled(shown=shown, groups=frozenset(groups), notes=tuple(notes), onward=on)

    def _onward(self, recall: Recall) -> Iterator[tuple[Group, Recalled]]:
        """What of each memory is followed on into those that are listed before it."""
        reached, shown = self.exits.onward().reached(), self.exits.observables()
        for k, memory in enumerate(recall.memories):
            before = {m.group for m in recall.memories[:k]}
            own = frozenset(shown[s.place] for s in memory.shows)
            if into := before & {g for o in own for g in reached[o]}:
                yield memory.group, Recalled(shown=own, groups=frozenset(into))

    # Whether a recall is what it is taken for

    def _is_whole(self, recall: Recall) -> bool:
        slopes = self._slopes(recall)
        own = recall.region == ONWARD and recall.cotangents == self.made.entering
        return own and slopes and all(self._is_of_group(memory) for memory in recall.memories)

    def _is_of_group(self, memory: Memory) -> bool:
        group = memory.group
        wanted = {
            (i, j)
            for i, of in enumerate(group.states)
            for j, on in enumerate(group.states)
            if (c := group.dependence(of, on)) is not None and c.has_diagonal
        }
        if set(memory.pairs) != wanted or len(memory.pairs) != len(wanted):
            return False
        for pair, value in zip(memory.pairs, memory.factors, strict=True):
            kept = self._kept(value, memory.weight)
            made = self.made.maker.get(kept) if kept is not None else None
            if type(made) is not Jacobian or made.group is not group or made.whole:
                return False
            if made.pairs[made.results.index(kept)] != pair:  # pyright: ignore[reportArgumentType]
                return False
        return all(self._is_shown(memory.group, shows) for shows in memory.shows)

    def _is_shown(self, group: Group, shows: Shows) -> bool:
        """Whether a memory shows one of its observables, by the derivatives of that."""
        observables = self.exits.observables()
        if shows.place >= len(observables) or observables[shows.place].group is not group:
            return False
        kept = [self._kept(value, shows.weight) for value in shows.factors]
        ends = [self.transition.hidden.index(state) for state in group.states]
        pairs = zip(kept, ends, strict=True)
        return all(v is not None and self._is_slope(v, shows.place, end, False) for v, end in pairs)

    def _slopes(self, recall: Recall) -> bool:
        """Whether the slopes are those of the steps, in order."""
        for k, value in enumerate(recall.slopes):
            kept = self._kept(value, recall.weight)
            made = self.made.maker.get(kept) if kept is not None else None
            if type(made) is not Slopes or made.region != SLOPES or made.results[k] is not kept:
                return False
        return True

    def _kept(self, value: Value, weight: Value | None) -> Value | None:
        """The value of each step that a trace keeps, as it was last or as a mean."""
        filtered = self._filtered(value)
        if filtered is None:
            trace = self.made.trace_of.get(value)
            plain = trace is not None and trace.before is value and not value.type.carries_credit
            return trace.after if plain and trace is not None else None
        of_weight = self._filtered(weight) if weight is not None else None
        if weight is None:
            return filtered[1] if filtered[0] == 0 else None
        same = of_weight is not None and of_weight[0] == filtered[0]
        ones = type(self.made.maker.get(of_weight[1])) is Ones if of_weight is not None else False
        return filtered[1] if same and ones else None

    def _filtered(self, value: Value) -> tuple[complex, Value] | None:
        """The factor of a trace that one value of each step is added to, and that value."""
        advance, _ = self._advance(value)
        if advance is None or type(advance.add) is not Plain or advance.add.values[0] is None:
            return None
        assert type(advance.by) is Scalar
        return complex(advance.by.factor, advance.by.imaginary), advance.add.values[0]

    def _advance(self, value: Value) -> tuple[Advance | None, Trace | None]:
        """What advances a trace of one array, by one factor, from zero."""
        trace = self.made.trace_of.get(value)
        if trace is None or trace.before is not value or trace.start is not None:
            return None, None
        op = self.made.maker.get(trace.after)
        right = type(op) is Advance and op.trace == (value,) and type(op.by) is Scalar
        return (op, trace) if right else (None, None)  # pyright: ignore[reportReturnType]

    def _is_passed(self, a: Association, value: Value, shown: Observable, recall: Recall, r: int) -> bool:
        """Whether a trace is what an exact one makes of an observable, filtered with a constant."""
        advance, _ = self._advance(value)
        add = advance.add if advance is not None else None
        if advance is None or type(add) is not Passed or add.association is not a or add.data is not a.site.data:
            return False
        by: Any = advance.by
        if (by.factor, by.imaginary) != recall.constants[r] or shown.group is not a.group:
            return False
        read = next((op for op in self._contractions() if op.association is a and op.trace == add.trace), None)
        course = self.positional.followed(read) if read is not None else None
        if course is None or course.reach is not None or (a, add.trace) not in self.exact_traces:
            return False
        states = course.states
        if len(add.factors) != len(states):
            return False
        place = self.exits.observables().index(shown)
        ends = [self.transition.hidden.index(a.group.states[k]) for k in states]
        first = len(self.transition.hidden) + self.transition.sites.index(a.site)
        turns = (False, True) if shown.type.is_complex and not a.site.output.type.is_complex else (False,)
        own = turns if a.site in shown.sites else ()
        return (
            all(self._is_slope(v, place, end, False) for v, end in zip(add.factors, ends, strict=True))
            and len(own) == len(add.own)
            and all(self._is_slope(v, place, first, turned) for v, turned in zip(add.own, own, strict=True))
        )

    def _contractions(self) -> Iterator[Contract]:
        for op in map(self.made.source, self.made.pullback.on_weights):
            if type(op) is Contract:
                yield op

    def _is_slope(self, value: Value, place: int, end: int, turned: bool) -> bool:
        """Whether a value is the derivative of an observable by one end of the region that shows it."""
        made = self.made.maker.get(value)
        if type(made) is not Credit or made.region != SHOWN or made.results.index(value) != end:
            return False
        given = [(k, self.made.maker.get(c)) for k, c in enumerate(made.cotangents) if c is not None]
        return len(given) == 1 and given[0][0] == place and type(given[0][1]) is Ones and given[0][1].turned == turned

    # How true

    def _notes(self, recall: Recall, memory: Memory) -> Iterator[Reason]:
        """What is to be said of a memory's powers."""
        group = memory.group
        names = _names(group)
        number = len(recall.constants)
        what = f"credit through the memory of {names} is carried by {number} exponential{'s' * (number > 1)}"
        standing, error = self.memories.standing(group), self._error(recall, group)
        if standing is Standing.MOVING:
            yield Reason(text=f"{what}, with a running mean in the place of its factors, which move", loc=group.loc)
        elif error is None or not np.isfinite(error):
            yield Reason(text=f"{what}, to an accuracy that is not known", loc=group.loc)
        elif standing is Standing.LEARNT:
            text = f"{what}, which gave the powers of its factors to {error:.1g} when they were chosen"
            yield Reason(text=f"{text}; these are learnt", loc=group.loc)
        elif error > _rounding(group):
            yield Reason(text=f"{what}, which give the powers of its factors to {error:.1g}", loc=group.loc)

    def _error(self, recall: Recall, group: Group) -> float | None:
        """The largest error of the powers of a group's factors, relative, at the example values of the parameters."""
        matrices = self.memories.matrices(group)
        if matrices is None:
            return None
        if np.max(np.abs(np.linalg.eigvals(matrices)), initial=0) * recall.horizon >= 1:
            return np.inf
        constants: Sequence[complex] = [complex(*m) for m in recall.constants]
        return float(np.max(relative_error(matrices, constants, recall.horizon), initial=0))


def _names(group: Group) -> str:
    return " and ".join(f"'{state.path}'" for state in group.states)


def _rounding(group: Group) -> float:
    """An error that is rounding."""
    return float(max(np.finfo(real_dtype(s.before.type.dtype)).eps for s in group.states)) ** 0.8
