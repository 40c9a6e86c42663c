"""The rules of parameters whose rule is one that chooses: other rules are planned and labelled for trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..ir.diagnostics import EtirError
from ..ir.plan import Trace
from ..ir.transition import Param, Transition, Verdict
from ..rules import Rule, Trial, Trials
from .analyses.provenance import Provenance
from .certify import Certify

Written = Callable[[Sequence["Rule | None"]], Transition]
"""The transition with the plan that some rules write, one a parameter; None where nothing is to be written."""


def choose_rules(
    transition: Transition,
    assigned: Sequence[Rule | None],
    written: Written,
    *,
    memory: int | None,
    credit: str,
    trace_dtype: str | None,
) -> tuple[list[Rule | None], tuple[str, ...]]:
    """The rule of each parameter, a rule that chooses replaced by its choices; and why, nothing where none chose.

    A parameter that is frozen has no rule, and gets none.
    """
    rules, because = list(assigned), [""] * len(assigned)
    for rule in dict.fromkeys(rule for rule in assigned if rule is not None):
        own = [k for k, other in enumerate(assigned) if other == rule]
        trials = _Planned(
            transition=transition,
            params=tuple(transition.params[k] for k in own),
            memory=memory,
            credit=credit,
            trace_dtype=trace_dtype,
            written=written,
        )
        choices = rule.choose(trials)
        if choices is None:
            continue
        for k in own:
            choice = choices[transition.params[k]]
            rules[k], because[k] = choice.rule, choice.because
    return rules, tuple(because) if any(because) else ()


@dataclass(frozen=True, kw_only=True)
class _Planned(Trials):
    """Trials by planning."""

    written: Written

    def of(self, rule: Rule, params: Sequence[Param]) -> Mapping[Param, Trial]:
        """What a plan of this rule alone gives."""
        chosen = set(params)
        try:
            planned = Certify().run(self.written([rule if p in chosen else None for p in self.transition.params]))
        except EtirError:
            return {}
        labels, traces = {label.path: label for label in planned.certificate or ()}, traces_of(planned)

        def trial(param: Param) -> Trial:
            label = labels.get(param.path)
            if label is None:  # it has no derivative
                return Trial(verdict=Verdict.EXACT)
            return Trial(verdict=label.label, reasons=label.reasons, traces=traces.get(param, frozenset()))

        return {param: trial(param) for param in params}


def traces_of(planned: Transition) -> dict[Param, frozenset[Trace]]:
    """For each parameter the traces that its gradient is made from."""
    made = Provenance(planned)
    pullback = made.pullback
    found: dict[Param, set[Trace]] = {}
    of_weights = [[p for p in weight.params if p in pullback.takers] for weight in pullback.weights]
    takers = [*of_weights, *([param] for param in pullback.params)]
    for params, value in zip(takers, (*pullback.on_weights, *pullback.on_params), strict=True):
        traces = {made.trace_of[v] for v in made.slice(value) if v in made.trace_of}
        for param in params:
            found.setdefault(param, set()).update(traces)
    return {param: frozenset(traces) for param, traces in found.items()}
