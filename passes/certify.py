"""certify: for every parameter, which gradient its plan gives it, and why. Derived from the plan, never written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

from ..ir.dataflow import Crossing
from ..ir.diagnostics import error
from ..ir.plan import Contract
from ..ir.plan.cost import human_bytes
from ..ir.regions import OPEN
from ..ir.transition import Association, Certificate, Label, Param, Reason, Site, Transition, Verdict
from .analyses.carried import Carriage, Carried, plan_rules
from .analyses.evidence import Evidence
from .analyses.silence import STOPPED
from .base import Pass


@dataclass(frozen=True)
class Certify(Pass):
    """Label every parameter `exact`, `approximate`, `truncated` or `frozen`, with all paths that are left out.

    A path from a weight to a later state counts as followed only where a trace takes it in, carries it on by the step's
    own derivative, and is read once; what is dropped is every other path. A label holds for losses on the outputs.

    Before: no certificate.  After: `"cell.Wr" truncated  reaches 'h' only through matmul`.
    """

    name: ClassVar[str] = "certify"

    def run(self, transition: Transition) -> Transition:
        """The transition with the certificate of its plan. Raises EtirError for a plan that counts a path twice."""
        plan = transition.plan
        if plan is None:
            raise error("no-plan", "the transition has no plan to certify", help="run plan-traces first (etir.plan)")
        judge = _Judge(transition)
        chosen = plan.because or ("",) * len(transition.params)
        labels = tuple(
            _frozen(param, plan.rule) if param.frozen else replace(judge.label(param, rule), because=because)
            for param, rule, because in zip(transition.params, plan_rules(transition), chosen, strict=True)
            if param.value.type.carries_credit
        )
        new = Certificate(rule=plan.rule, window=plan.window, credit=plan.credit, labels=labels)
        return transition if new == transition.certificate else replace(transition, certificate=new)


def _frozen(param: Param, rule: str) -> Label:
    reason = Reason(text="it does not learn: it has neither trace nor gradient", loc=param.loc)
    return Label(path=param.path, label=Verdict.FROZEN, rule=rule, reasons=(reason,))


class _Judge:
    """What the data-flow and the plan say together."""

    def __init__(self, transition: Transition) -> None:
        self.transition = transition
        self.evidence, self.carriage = Evidence(transition), Carriage(transition)
        self.open = Evidence(transition, OPEN) if self._reads_open() else self.evidence
        assert transition.plan is not None
        self.window = transition.plan.window

    def label(self, param: Param, rule: str) -> Label:
        """The certificate's entry for one parameter."""

        def entry(verdict: Verdict, *reasons: Reason) -> Label:
            return Label(path=param.path, label=verdict, rule=rule, reasons=tuple(dict.fromkeys(reasons)))

        carriage = self.carriage
        carried, whole = carriage.of(param), carriage.whole(param)
        evidence = self._evidence(carried)
        own = {a: c for a, c in carried.items() if a.group.region == evidence.flow.scope}
        recalled = carriage.into_memories(param)
        finding = evidence.of(param, own, whole, recalled, carriage.crossing(param))
        beside = tuple(self._beside(param, carried))
        silenced = self.evidence.flow.silenced.get(self.transition.params.index(param), ())
        if silenced or not finding.reaches:
            beside = (*beside, *self._whatever_the_loss(param))
            if beside:
                return entry(Verdict.APPROXIMATE, *beside)
            if silenced:
                return entry(Verdict.EXACT, *(self._silence(crossing) for crossing in silenced))
            never = "reaches no hidden state that an output depends on: its gradient needs no trace"
            none = "reaches no hidden state: its gradient needs no trace"
            return entry(Verdict.EXACT, Reason(text=never if self.evidence.reaches_states(param) else none))
        full = carriage.by_param.get(param)
        held = full is not None or bool(whole)
        rounded = evidence.roundings.of(evidence.sources_of(param), held=held)
        if full is not None:
            reasons = (*full.notes, *finding.buffers, *beside, *rounded)
            if reasons or carried or whole:
                return entry(Verdict.APPROXIMATE, *(reasons or (Reason(text="several traces of it are added up"),)))
            return entry(Verdict.EXACT, Reason(text="its influence on every hidden state is carried"))
        notes = tuple(note for a in finding.traced for note in carried[a].notes)
        notes += tuple(note for site, c in whole.items() for note in self._of_whole(site, c, carried, finding.dropped))
        notes += tuple(note for r in recalled.values() for note in r.notes)
        dropped = (*finding.dropped, *finding.buffers)
        if not finding.traced and not whole:
            if beside:
                return entry(Verdict.APPROXIMATE, *beside, *finding.buffers)
            if recalled:
                return self._traced(entry, (*notes, *dropped, *rounded), param)
            return entry(Verdict.TRUNCATED, *self._truncated(param, rule, dropped))
        seen = [a for a in finding.traced if self._sees(a, carried[a])]
        if not seen and not beside and not whole and not recalled:
            text = f"no output of a window of {self.window} reads the positions that its trace follows"
            return entry(Verdict.TRUNCATED, Reason(text=text, loc=finding.traced[0].loc), *dropped)
        reasons = (*notes, *beside, *dropped, *rounded)
        return self._traced(entry, reasons, param)

    def _traced(self, entry: Callable[..., Label], reasons: tuple[Reason, ...], param: Param) -> Label:
        """The entry of a parameter whose traces are the derivative, but for some reasons."""
        if reasons:
            return entry(Verdict.APPROXIMATE, *reasons)
        return entry(Verdict.EXACT, Reason(text=f"every path from it to a hidden state is traced{self._price(param)}"))

    def _price(self, param: Param) -> str:
        """What it costs that a parameter is traced as a part of a larger weight, as `A` is in `x @ (A @ B)`."""
        contractions = [op for op in self._contractions if param in op.association.site.weight.params]
        for weight in dict.fromkeys(op.association.site.weight for op in contractions):
            others = [p for p in weight.params if p is not param]
            if others and weight.value.type.size > max(p.value.type.size for p in weight.params):
                held = {
                    v: v.type.bytes for op in contractions if op.association.site.weight is weight for v in op.trace
                }
                made = " and ".join(f"'{p.path}'" for p in others)
                return f" in {weight.value.type}, which it makes with {made}: {human_bytes(sum(held.values()))}"
        return ""

    @cached_property
    def _contractions(self) -> list[Contract]:
        assert self.transition.plan is not None
        return [op for op in self.transition.plan.at_window if isinstance(op, Contract)]

    def _silence(self, crossing: Crossing) -> Reason:
        """Why no credit comes to a parameter, by one of the operations that see to it."""
        if crossing.operation == STOPPED:
            return Reason(text="its gradient is zero: stop_gradient cuts its way to the outputs", loc=crossing.loc)
        text = f"its gradient is zero: it comes to the outputs through {crossing.operation}, {crossing.why}"
        return Reason(text=text, loc=crossing.loc)

    def _whatever_the_loss(self, param: Param) -> Iterator[Reason]:
        """What a parameter's gradient is made of even where the loss does not depend on it."""
        if param in self.carriage.pullback.takers:
            for weight in self.evidence.weights_of.get(param, ()):
                yield from self.carriage.not_of_loss(weight)

    def _reads_open(self) -> bool:
        return any(a.group.region == OPEN for a in self.carriage.by_association)

    def _evidence(self, carried: dict[Association, Carried]) -> Evidence:
        """The scope in which what is carried of a parameter is judged: the open one where all of it is of that."""
        return self.open if carried and all(a.group.region == OPEN for a in carried) else self.evidence

    def _of_whole(
        self, site: Site, carried: Carried, others: dict[Association, Carried], dropped: tuple[Reason, ...]
    ) -> Iterator[Reason]:
        """What is to be said of a use that is followed through the whole step."""
        yield from carried.notes
        if carried.estimates:
            paths = " along the paths that it follows" if dropped else ""
            yield Reason(
                text=f"a random estimate, whose mean is the gradient of {carried.estimates}{paths}", loc=site.loc
            )
        if any(a.site is site for a in others):
            yield Reason(text="several traces of it are added up", loc=site.loc)

    def _truncated(self, param: Param, rule: str, dropped: tuple[Reason, ...]) -> tuple[Reason, ...]:
        sites = [s for w in self.evidence.weights_of.get(param, ()) for s in self.evidence.sites_of.get(w, ())]
        could = any(a.traced for site in sites for a in self.evidence.associations_of.get(site, ()))
        assert self.transition.plan is not None
        if could or param in self.transition.plan.left:
            return (Reason(text=f"{rule} carries no trace: credit ends where the window begins"),)
        return dropped or (Reason(text="no use of it reaches a hidden state position by position"),)

    def _sees(self, association: Association, carried: Carried) -> bool:
        """Whether a trace is read with anything but zero; one read at each step's exit is, as far as is known."""
        if association.site in self.carriage.vjp.detached:
            return True
        evidence = self.open if association.group.region == OPEN else self.evidence
        return evidence.reach.sees(association, carried.states, carried.reach, self.window)

    def _beside(self, param: Param, carried: dict[Association, Carried]) -> Iterator[Reason]:
        """What makes a gradient approximate beside its traces."""
        carriage = self.carriage
        weights = self.evidence.weights_of.get(param, [])
        if len({a.group.region for a in carried}) > 1:
            yield Reason(text="several traces of it are added up", loc=param.loc)
        if carriage.replaced(param):
            yield Reason(text="reverse mode's gradient is replaced by something else", loc=param.loc)
        yield from (carriage.foreign[w] for w in weights if w in carriage.foreign and param in carriage.pullback.takers)
        sites = [s for w in weights for s in self.evidence.sites_of.get(w, ())]
        detached = [s for s in sites if s in carriage.vjp.detached]
        for site in detached:
            if not any(a.site is site for a in carried):
                yield Reason(text="reverse mode leaves its use out, and no trace is read in its place", loc=site.loc)
        reversed_ = len(detached) < len(sites) or self.evidence.uses_plainly(weights)
        if carriage.vjp.exit and reversed_ and self.evidence.reaches_states(param):
            yield Reason(text="credit from after the window is predicted, not computed", loc=param.loc)
