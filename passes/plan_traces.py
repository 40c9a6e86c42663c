"""plan-traces: a learning rule's trace program, written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar

import jax.numpy as jnp

from ..coupling import Coupling
from ..ir.diagnostics import Diagnostic, EtirError
from ..ir.plan import Contract, Jacobian, Operation, Plan, Pullback, Sensitivity, Trace, Vjp
from ..ir.transition import Association, Group, Transition
from ..ir.types import TensorType
from ..ir.values import Value
from ..rules import Materials, Program, Rule
from .base import Pass
from .certify import RuleOf, assign_rules
from .evidence import Evidence
from .ingest import FORWARD, RESTRICTED, with_regions
from .restrict_credit import restricted_region


@dataclass(frozen=True)
class PlanTraces(Pass):
    """Write the plan of a learning rule.

    At every step come the Jacobians, the sensitivities and the advances of traces; at a window's end reverse mode, the
    contractions and the pull-back to parameters.

    Before: no plan.  After: `plan d_rtrl window=16 { ... }`.
    """

    name: ClassVar[str] = "plan-traces"

    rule: str | Rule = "d_rtrl"
    """The learning rule of every parameter that `rules` does not name."""
    rules: RuleOf = ()
    """Pairs of a glob of parameter paths and a rule; the first that matches counts."""
    window: int = 1
    """Steps over which weights are held still."""
    credit: str = "full"
    """`full`: reverse mode inside windows; `rule`: the rule's own Jacobian there too."""

    def run(self, transition: Transition) -> Transition:
        """The transition with a plan."""
        self._check()
        assigned = assign_rules(transition, self.rule, self.rules)
        _check_sites(transition, assigned)
        _check_credit(transition, assigned, self.credit)
        region = RESTRICTED if self.credit == "rule" and any(rule.positional for rule in assigned) else FORWARD
        if region == RESTRICTED:
            transition = with_regions(transition, restricted_region(transition))
        reverse = _reverse_mode(transition, region)
        states = len(transition.hidden)
        programs = list(_programs(transition, assigned, reverse.results[:states]))
        contributions = [c for p in programs for c in p.contributions]
        pullback = Pullback(
            positional=tuple(p for p, rule in zip(transition.params, assigned, strict=True) if rule.positional),
            contributions=tuple(c.results[0] for c in contributions),
            reverse=reverse.results[states:],
            results=tuple(Value(type=p.value.type, hint=f"grad_{p.value.hint}") for p in transition.params),
        )
        at_window = _contracts_last([op for p in programs for op in p.at_window])
        plan = Plan(
            rule=self.rule if isinstance(self.rule, str) else self.rule.name,
            window=self.window,
            credit=self.credit,
            traces=tuple(_unique(t for p in programs for t in p.traces)),
            step=tuple(op for p in programs for op in p.step),
            at_window=(reverse, *at_window, pullback),
        )
        return replace(transition, plan=plan)

    def _check(self) -> None:
        findings: list[Diagnostic] = []
        if not isinstance(self.window, int):
            message = f"window={self.window!r}; wanted a number of steps, as an int"
            findings.append(Diagnostic(code="window-size", message=message))
        elif self.window < 1:
            findings.append(
                Diagnostic(code="window-size", message=f"window={self.window}; a window is at least one step long")
            )
        if self.credit not in ("full", "rule"):
            findings.append(
                Diagnostic(code="unknown-credit", message=f"credit='{self.credit}'; wanted 'full' or 'rule'")
            )
        if findings:
            raise EtirError(findings)


def _check_sites(transition: Transition, assigned: list[Rule]) -> None:
    """Refuse a positional rule for a step that has no site: it would learn nothing that plain truncation does not."""
    names = sorted({rule.name for rule in assigned if rule.positional})
    if not names or transition.sites:
        return
    raise EtirError([
        Diagnostic(
            code="no-site",
            message=f"step '{transition.name}' uses no weight through an ETP operation, "
            f"so '{names[0]}' has nothing to trace",
            loc=transition.loc,
            help="write etir.matmul(h, w) where the weight should learn online, or pass sites='auto'",
        )
    ])  # fmt: skip


def _check_credit(transition: Transition, assigned: list[Rule], credit: str) -> None:
    """Refuse the per-step form beside a rule that has none: reverse mode would drop what its labels say is kept."""
    positional = next((rule for rule in assigned if rule.positional), None)
    others = [(p, rule) for p, rule in zip(transition.params, assigned, strict=True) if not rule.positional]
    if credit != "rule" or positional is None or not others:
        return
    raise EtirError([
        Diagnostic(
            code="credit-rules",
            message=f"credit='rule' is the per-step form of '{positional.name}'; "
            f"'{param.path}' learns by '{rule.name}', which has none",
            loc=param.loc,
            help="pass credit='full', which drops strictly less, or give every parameter the same rule",
        )
        for param, rule in others
    ])  # fmt: skip


def _reverse_mode(transition: Transition, region: str) -> Vjp:
    cotangents = [Value(type=s.before.type, hint=f"{s.before.hint}_bar") for s in transition.hidden]
    gradients = [Value(type=p.value.type, hint=f"{p.value.hint}_bar") for p in transition.params]
    return Vjp(region=region, results=(*cotangents, *gradients))


def _programs(transition: Transition, assigned: list[Rule], cotangents: tuple[Value, ...]) -> Iterator[Program]:
    rule_of = dict(zip(transition.params, assigned, strict=True))
    bar_of = dict(zip(transition.hidden, cotangents, strict=True))
    jacobians: dict[Group, Value] = {}
    for association in transition.associations:
        rule = _positional_rule(association, [rule_of[param] for param in association.site.weight.params])
        if rule is None or not association.traced:
            continue
        group, step = association.group, list[Operation]()
        if group not in jacobians:
            jacobians[group] = Value(type=_jacobian_type(group), hint=f"D{group.index}")
            step.append(Jacobian(group=group, results=(jacobians[group],), loc=group.loc))
        sensitivity = Value(type=_sensitivity_type(association), hint=f"f_{association.site.output.hint}")
        step.append(Sensitivity(association=association, results=(sensitivity,), loc=association.loc))
        materials = Materials(
            jacobian=jacobians[group],
            sensitivity=sensitivity,
            cotangents=tuple(bar_of[state] for state in group.states),
        )
        program = rule.for_association(association, materials)
        yield replace(program, step=(*step, *program.step))
    apart = [(p, rule) for p, rule in rule_of.items() if not rule.positional and p.value.type.carries_credit]
    evidence = Evidence(transition) if apart else None
    for param, rule in apart:
        if evidence is not None and evidence.of(param).reaches:
            yield rule.for_param(param, tuple(s.before for s in transition.hidden), cotangents)


def _positional_rule(association: Association, rules: list[Rule]) -> Rule | None:
    """The one positional rule among the rules of a weight's parameters; None where there is none."""
    positional = list(dict.fromkeys(rule for rule in rules if rule.positional))
    if len(positional) > 1:
        paths = " and ".join(f"'{path}'" for path in association.site.weight.paths)
        raise EtirError([
            Diagnostic(
                code="rule-conflict",
                message=f"{paths} make one weight, but learn by different rules: "
                + ", ".join(f"'{rule.name}'" for rule in positional),
                loc=association.loc,
                help="give them the same rule in rules=",
            )
        ])  # fmt: skip
    return positional[0] if positional else None


def _jacobian_type(group: Group) -> TensorType:
    count = len(group.states)
    return TensorType(_widest(group), (count, count, *group.shape))


def _sensitivity_type(association: Association) -> TensorType:
    union = association.union
    assert union is not None
    return TensorType(
        _wider(_widest(association.group), association.site.output.type.dtype),
        (len(association.group.states), slot_count(union), *association.site.output.type.shape),
    )


def slot_count(union: Coupling) -> int:
    """How many state positions one output position feeds."""
    targets = union.targets()
    assert targets is not None
    return targets.slots


def _widest(group: Group) -> str:
    """The element type that holds every state of a group."""
    return str(reduce(jnp.promote_types, [state.before.type.dtype for state in group.states]))


def _wider(states: str, output: str) -> str:
    """The element type of a sensitivity: the states', complex where the site's output is."""
    return str(jnp.promote_types(states, output)) if output.startswith("complex") else states


def _contracts_last(operations: list[Operation]) -> list[Operation]:
    """Advances that happen at a window's end come after the contractions, which read the trace before it."""
    return sorted(operations, key=lambda op: not isinstance(op, Contract))


def _unique(traces: Iterator[Trace]) -> list[Trace]:
    return list(dict.fromkeys(traces))
