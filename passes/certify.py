"""certify: for every parameter, which gradient it gets, and why."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from ..ir.transition import Certificate, Transition
from ..rules import RULES, Rule
from .base import Pass
from .evidence import Evidence

RuleOf = tuple[tuple[str, "str | Rule"], ...]


@dataclass(frozen=True)
class Certify(Pass):
    """Label every parameter `exact`, `approximate` or `truncated`, with every path that its gradient leaves out.

    Before: no certificate.  After: `"cell.Wr" truncated  reaches 'h' only through matmul`.
    """

    name: ClassVar[str] = "certify"

    rule: str | Rule = "d_rtrl"
    """The learning rule of every parameter that `rules` does not name."""
    rules: RuleOf = ()
    """Pairs of a glob of parameter paths and a rule; the first that matches counts."""
    window: int = 1
    """Steps over which weights are held still."""
    credit: str = "full"
    """`full`: reverse mode inside windows; `rule`: the rule's own Jacobian there too."""

    def run(self, transition: Transition) -> Transition:
        """The transition with a certificate for this rule."""
        assigned = assign_rules(transition, self.rule, self.rules)
        evidence = Evidence(transition)
        labels = tuple(
            rule.label(param, evidence.of(param))
            for param, rule in zip(transition.params, assigned, strict=True)
            if param.value.type.carries_credit
        )
        default = self.rule if isinstance(self.rule, str) else self.rule.name
        new = Certificate(rule=default, window=self.window, credit=self.credit, labels=labels)
        return transition if new == transition.certificate else replace(transition, certificate=new)


def assign_rules(transition: Transition, default: str | Rule, overrides: RuleOf) -> list[Rule]:
    """The rule of each parameter, in order. EtirError for unknown rules and for globs that match no parameter."""
    findings: list[Diagnostic] = []
    rules = [(glob, _known(rule, findings)) for glob, rule in overrides]
    fallback = _known(default, findings)
    paths = [param.path for param in transition.params]
    findings += [
        Diagnostic(
            code="rule-path", message=f"no parameter matches '{glob}', given in rules=", help=did_you_mean(glob, paths)
        )
        for glob, _ in rules
        if not fnmatch.filter(paths, glob)
    ]
    if findings:
        raise EtirError(findings)
    return [
        _first(rule for glob, rule in [*rules, ("*", fallback)] if fnmatch.fnmatchcase(path, glob)) for path in paths
    ]


def _first(rules: Iterable[Rule | None]) -> Rule:
    rule = next(iter(rules))
    assert rule is not None
    return rule


def _known(rule: str | Rule, findings: list[Diagnostic]) -> Rule | None:
    if isinstance(rule, Rule):
        return rule
    if not isinstance(rule, str):
        message = f"the learning rule is of type {type(rule).__name__}; wanted a name or a Rule"
        findings.append(Diagnostic(code="unknown-rule", message=message, help=f"known: {', '.join(sorted(RULES))}"))
        return None
    if rule not in RULES:
        findings.append(
            Diagnostic(
                code="unknown-rule", message=f"there is no learning rule '{rule}'", help=did_you_mean(rule, RULES)
            )
        )
    return RULES.get(rule)
