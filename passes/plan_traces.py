"""plan-traces: a learning rule's trace program, written out."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, ClassVar

from ..ir import jaxpr as jx
from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from ..ir.regions import FORWARD, OPEN, RESTRICTED, with_regions
from ..ir.transition import Association, Param, Transition
from ..rules import DEFAULT, RULES, Rule, Task, Writer
from ..rules.names import own_name
from ..rules.writer import Followed
from .analyses.carried import Carried
from .analyses.dataflow import HIDING, analyse_dataflow, describe
from .analyses.evidence import Evidence
from .analyses.exits import Exits
from .analyses.memories import Memories
from .analyses.picks import paying_picks
from .analyses.samples import Samples
from .analyses.variables import site_variable, state_variables
from .base import Pass
from .choose_rules import choose_rules
from .open_scope import with_open_scope
from .restrict_credit import restricted_region

RuleOf = tuple[tuple[str, "str | Rule"], ...]


@dataclass(frozen=True)
class PlanTraces(Pass):
    """Write the plan of a learning rule.

    At every step come the Jacobians, the sensitivities and the advances of traces; at a window's end reverse mode, the
    contractions and the pull-back to parameters.

    Before: no plan.  After: `plan my_rule window=16 { ... }`.
    """

    name: ClassVar[str] = "plan-traces"

    rule: str | Rule = DEFAULT
    """The learning rule of every parameter that `rules` does not name."""
    rules: RuleOf = ()
    """Pairs of a glob of parameter paths and a rule; the first that matches counts."""
    window: int = 1
    """Steps over which weights are held still."""
    credit: str = "full"
    """`full`: reverse mode inside windows; `rule`: the rule's own Jacobian there too."""
    memory: int | None = None
    """Bytes of traces that a rule which chooses others may spend; None for no bound."""
    trace_dtype: str | None = None
    """The element type that the traces will be held in, for what they weigh; None for their own."""

    def run(self, transition: Transition) -> Transition:
        """The transition with a plan."""
        self.check()
        named = assign_rules([param.path for param in transition.params], self.rule, self.rules)
        assigned = [None if p.frozen else rule for p, rule in zip(transition.params, named, strict=True)]
        _check_sites(transition, [rule for rule in assigned if rule is not None])
        budget: dict[str, Any] = {"memory": self.memory, "credit": self.credit, "trace_dtype": self.trace_dtype}
        rules, because = choose_rules(transition, assigned, partial(self._written, transition), **budget)
        _check_credit(transition, rules, self.credit)
        return self._written(transition, rules, because)

    def _written(
        self, transition: Transition, assigned: Sequence[Rule | None], because: tuple[str, ...] = ()
    ) -> Transition:
        """The transition with the plan that these rules write, one a parameter; for None nothing is written."""
        known = [rule for rule in assigned if rule is not None]
        restricted = self.credit == "rule" and any(rule.per_step for rule in known)
        if restricted:
            transition = with_regions(transition, restricted_region(transition))
        plan = Writer(
            transition=transition,
            region=RESTRICTED if restricted else FORWARD,
            exits=Exits(transition),
            memories=Memories(transition),
            with_open_scope=with_open_scope,
            follows_all=_Followed(),
            picks=cache(partial(paying_picks, transition)),
        )
        reaching = _reaching(transition, known)
        left: set[Param] = set()
        for rule in dict.fromkeys(known):
            plan.rule = rule
            plan.params = tuple(p for p, own in zip(transition.params, assigned, strict=True) if own == rule)
            before = plan.traces
            rule.write(plan, _task(transition, plan.params, reaching))
            if plan.traces == before and not rule.needs_sites:
                left.update(plan.params)
        name = self.rule if isinstance(self.rule, str) else self.rule.name
        without = tuple(param for param in transition.params if param in left)
        names = tuple(name if own is None else own.name for own in assigned)
        planned = plan.finish(name, names, self.window, self.credit, without)
        assert planned.plan is not None
        return replace(planned, plan=replace(planned.plan, because=because)) if because else planned

    def check(self) -> None:
        """Raise EtirError for a window or a credit that is none."""
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


def assign_rules(paths: Sequence[str], default: str | Rule, overrides: RuleOf) -> list[Rule]:
    """The rule of the parameter at each path. EtirError for unknown rules and for globs that match no parameter."""
    findings: list[Diagnostic] = []
    rules = [(glob, _known(rule, findings)) for glob, rule in overrides]
    fallback = _known(default, findings)
    findings += [
        Diagnostic(
            code="rule-path", message=f"no parameter matches '{glob}', given in rules=", help=did_you_mean(glob, paths)
        )
        for glob, _ in rules
        if not fnmatch.filter(paths, glob)
    ]
    if findings:
        raise EtirError(findings)
    chosen = [*rules, ("*", fallback)]
    found = [next(rule for glob, rule in chosen if fnmatch.fnmatchcase(path, glob)) for path in paths]
    return [rule for rule in found if rule is not None]


def check_rules(rules: Iterable[str | Rule]) -> None:
    """Raise EtirError for what is no rule, and no name of one."""
    findings: list[Diagnostic] = []
    for rule in rules:
        _known(rule, findings)
    if findings:
        raise EtirError(findings)


def _known(rule: str | Rule, findings: list[Diagnostic]) -> Rule | None:
    """The rule that is meant; None, with a finding, where it is none."""
    if isinstance(rule, Rule):
        if not rule.name:
            message = f"rule '{type(rule).__name__}' has no name"
            findings.append(
                Diagnostic(code="rule-method", message=message, help="give the class a name: ClassVar[str]")
            )
        return rule
    if isinstance(rule, type) and issubclass(rule, Rule):
        message = f"the class '{rule.__name__}' was given as a learning rule; wanted an instance"
        findings.append(Diagnostic(code="unknown-rule", message=message, help=f"pass rule={rule.__name__}()"))
        return None
    if isinstance(own := getattr(rule, "rule_class", None), type):  # a learner, which is called as its rule is
        name = rule.__name__ if isinstance(rule, type) else type(rule).__name__
        message = f"'{name}' is a learner around a model; wanted a rule"
        help = f"pass rule=etir.rules.{own.__name__}(); or the model to the learner, etir.{name}(model)"
        findings.append(Diagnostic(code="unknown-rule", message=message, help=help))
        return None
    if not isinstance(rule, str):
        message = f"the learning rule is of type {type(rule).__name__}; wanted a name or a Rule"
        findings.append(Diagnostic(code="unknown-rule", message=message, help=f"known: {', '.join(sorted(RULES))}"))
        return None
    name = own_name(rule, RULES)
    if name not in RULES:
        message = f"there is no learning rule '{rule}'"
        findings.append(Diagnostic(code="unknown-rule", message=message, help=did_you_mean(rule, RULES)))
    return RULES.get(name)


def _reaching(transition: Transition, assigned: Sequence[Rule]) -> list[Param]:
    """The parameters that reach a hidden state; looked for only where a rule may ask."""
    if all(rule.needs_sites for rule in assigned) or not transition.hidden:
        paths = {param for a in transition.associations for param in a.site.weight.params}
        return [param for param in transition.params if param in paths]
    evidence = Evidence(transition)
    return [p for p in transition.params if p.learns and evidence.of(p).reaches]


class _Followed:
    """Whether traces in the open scope of a plan in the making leave out no path of a parameter."""

    def __init__(self) -> None:
        self._evidence: Evidence | None = None

    def __call__(self, transition: Transition, param: Param, traces: Mapping[Association, Followed]) -> bool:
        if self._evidence is None:
            self._evidence = Evidence(transition, OPEN)
        carried = {a: Carried(states=f.states, reach=f.reach, moving=True) for a, f in traces.items()}
        return not self._evidence.of(param, carried).dropped


def _task(transition: Transition, params: tuple[Param, ...], reaching: list[Param]) -> Task:
    own = set(params)
    flow, variables = analyse_dataflow(transition), state_variables(transition)
    to_hidden = flow.reaching(variables[state][1] for state in transition.hidden)
    return Task(
        transition=transition,
        params=params,
        reaching=tuple(param for param in reaching if param in own),
        associations=tuple(a for a in transition.associations if a.traced and own.intersection(a.site.weight.params)),
        sites=tuple(
            site
            for site in transition.sites
            if own.intersection(site.weight.params) and site_variable(transition, site) in to_hidden
        ),
        unmixed=frozenset(
            group
            for group in transition.groups
            if not any(
                held.var in to_hidden for state in group.states for held in flow.readers.get(variables[state][0], ())
            )
        ),
        apart=Samples(transition).apart,
    )


def _check_sites(transition: Transition, assigned: list[Rule]) -> None:
    """Refuse a rule that lives at sites for a step that has none: it would learn nothing that truncation does not."""
    names = sorted({rule.name for rule in assigned if rule.needs_sites})
    if not names or transition.sites:
        return
    raise EtirError([_no_site(transition, names[0])])


def _no_site(transition: Transition, rule: str) -> Diagnostic:
    flow = analyse_dataflow(transition)
    equations = [e for k, e in enumerate(jx.equations(flow.body)) if k not in flow.prologue.equations]
    uses = any(not jx.is_literal(a) and a in flow.prologue.frontier for e in equations for a in e.invars)
    remedy = "write etir.matmul(h, w) where the weight should learn online"
    return Diagnostic(
        code="no-site",
        message=f"step '{transition.name}' uses no weight through an ETP operation, so '{rule}' has nothing to trace",
        loc=transition.loc,
        notes=tuple(
            f"{jx.location(e) or transition.loc}: what {describe(e)} encloses cannot be seen"
            for e in equations
            if e.primitive.name == HIDING
        ),
        help=f"{remedy}, or pass sites='auto'" if uses else remedy,
    )


def _check_credit(transition: Transition, assigned: Sequence[Rule | None], credit: str) -> None:
    """Refuse the per-step form beside a rule that has none: reverse mode would drop what its labels say is kept."""
    given = [(p, rule) for p, rule in zip(transition.params, assigned, strict=True) if rule is not None]
    classical = next((rule for _, rule in given if rule.per_step), None)
    others = [(p, rule) for p, rule in given if not rule.per_step]
    if credit != "rule" or classical is None or not others:
        return
    raise EtirError([
        Diagnostic(
            code="credit-rules",
            message=f"credit='rule' is the per-step form of '{classical.name}'; "
            f"'{param.path}' learns by '{rule.name}', which has none",
            loc=param.loc,
            help="pass credit='full', which drops strictly less, or give every parameter the same rule",
        )
        for param, rule in others
    ])  # fmt: skip
