"""auto: for each weight the most exact of other rules that fits a budget of memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir.plan import Trace
from ..ir.plan.cost import human_bytes
from ..ir.transition import Param, Verdict
from .base import Rule
from .bptt import Bptt
from .cascade import Cascade
from .d_rtrl import DRtrl
from .pp_prop import PpProp
from .rtrl import Rtrl
from .shared.trials import Choice, Trial, Trials
from .snap import SnAp

CANDIDATES: tuple[Rule, ...] = (Bptt(), PpProp(), DRtrl(), Cascade(), SnAp(n=1), SnAp(n=2), SnAp(n=4), Rtrl())
"""The rules that are tried, less exact ones first."""


@dataclass(frozen=True)
class Auto(Rule):
    """The most exact of its candidates that fits `memory=`, for each weight.

    Labels and sizes are those of plans that are written for trial, one a candidate; no table says what is exact. Every
    weight begins with the first candidate. Then the others have their turns, less exact ones first: in a turn the
    weights that gain by the candidate take it, small traces first, while they fit; a weight that is exact is done. So
    no weight goes without a trace for the sake of another one's exactness, and a cheap exact trace is never traded
    for a costly one. Parameters that make one weight together choose together. Cost at compile: one plan a candidate.
    """

    name: ClassVar[str] = "auto"
    needs_sites: ClassVar[bool] = False
    marks_uses: ClassVar[bool] = True
    reassociates: ClassVar[bool] = True

    candidates: tuple[Rule, ...] = CANDIDATES
    """The rules to choose from, less exact ones first; the first should hold nothing."""

    def choose(self, trials: Trials) -> Mapping[Param, Choice]:
        """The rule of each parameter."""
        usable = [c for c in self.candidates if c.suits(trials.transition)]
        if trials.credit == "rule" and any(c.per_step for c in usable):
            usable = [c for c in usable if c.per_step]
        return _Choosing(trials, usable).run()


@dataclass(eq=False)
class _Unit:
    """Parameters that learn by one rule: one parameter, or those that make a weight together."""

    params: tuple[Param, ...]
    rule: Rule
    found: dict[Param, Trial] = field(default_factory=dict[Param, Trial])
    larger: str = ""
    """What would be more exact, and does not fit."""

    @property
    def exact(self) -> bool:
        return bool(self.found) and all(trial.verdict is Verdict.EXACT for trial in self.found.values())

    @property
    def traces(self) -> frozenset[Trace]:
        return _traces(self.found)

    def gains(self, found: Mapping[Param, Trial]) -> bool:
        """Whether some parameter would have a better label, or as good a one that leaves out something else."""
        if not self.found:
            return True
        pairs = [(self.found[p], found[p]) for p in self.params]
        if any(_RANK[new.verdict] < _RANK[old.verdict] for old, new in pairs):
            return False
        return any(_gains(old, new) for old, new in pairs)


def _gains(old: Trial, new: Trial) -> bool:
    if new.verdict is not old.verdict:
        return _RANK[new.verdict] > _RANK[old.verdict]
    return new.verdict is Verdict.APPROXIMATE and new.reasons != old.reasons


_RANK = {Verdict.TRUNCATED: 0, Verdict.APPROXIMATE: 1, Verdict.EXACT: 2}


class _Choosing:
    """One run: the units, what each holds so far, and the candidates in turn."""

    def __init__(self, trials: Trials, candidates: list[Rule]) -> None:
        self.trials, self.candidates = trials, candidates
        self.units = [_Unit(params, candidates[0]) for params in _together(trials)]
        self.taken, self.readers = 0, Counter[Trace]()

    def run(self) -> dict[Param, Choice]:
        for candidate in self.candidates:
            self._turn(candidate)
        return {p: Choice(rule=unit.rule, because=self._because(unit)) for unit in self.units for p in unit.params}

    def _turn(self, candidate: Rule) -> None:
        """Give a candidate to the units that gain by it, small traces first, while it fits."""
        waiting = [unit for unit in self.units if not unit.exact]
        found = self.trials.of(candidate, [p for unit in waiting for p in unit.params]) if waiting else {}
        if not found:
            return
        options = [(unit, {p: found[p] for p in unit.params}) for unit in waiting]
        options = [(unit, own, self.trials.bytes(_traces(own))) for unit, own in options if unit.gains(own)]
        for unit, own, size in sorted(options, key=lambda option: option[2]):
            if self._takes(unit, _traces(own)):
                unit.rule, unit.found, unit.larger = candidate, own, ""
            else:
                unit.larger = unit.larger or f"{title(candidate)} would hold {human_bytes(size)}"

    def _takes(self, unit: _Unit, traces: frozenset[Trace]) -> bool:
        """Exchange a unit's traces for others, if they fit. A trace that several units read is held once."""
        freed = self.trials.bytes(t for t in unit.traces if self.readers[t] == 1)
        added = self.trials.bytes(t for t in traces if not self.readers[t])
        if self.trials.memory is not None and self.taken - freed + added > self.trials.memory:
            return False
        self.readers.subtract(unit.traces)
        self.readers.update(traces)
        self.taken += added - freed
        return True

    def _because(self, unit: _Unit) -> str:
        size = self.trials.bytes(unit.traces)
        holds = f"{title(unit.rule)} holds {human_bytes(size)}" if size else f"{title(unit.rule)} holds nothing"
        if unit.exact:
            return f"{holds}, and is exact"
        if unit.larger:
            return f"{holds}; {unit.larger}, more than is left of {human_bytes(self.trials.memory or 0)}"
        return f"{holds}, and no other rule that was tried is more exact"


def title(rule: Rule) -> str:
    """A rule's name, with the options that are not its defaults."""
    plain = {name: f.default for name, f in rule.__dataclass_fields__.items()}
    options = [f"{name}={getattr(rule, name)!r}" for name in plain if getattr(rule, name) != plain[name]]
    return f"{rule.name}({', '.join(options)})" if options else rule.name


def _traces(found: Mapping[Param, Trial]) -> frozenset[Trace]:
    return frozenset(trace for trial in found.values() for trace in trial.traces)


def _together(trials: Trials) -> list[tuple[Param, ...]]:
    """The parameters in sets: two that make one weight are in one."""
    head = {param: param for param in trials.params}

    def find(param: Param) -> Param:
        while head[param] is not param:
            head[param] = head[head[param]]
            param = head[param]
        return param

    for weight in trials.transition.weights:
        own = [param for param in weight.params if param in head]
        for other in own[1:]:
            head[find(other)] = find(own[0])
    sets: dict[Param, list[Param]] = {}
    for param in trials.params:
        sets.setdefault(find(param), []).append(param)
    return [tuple(params) for params in sets.values()]
