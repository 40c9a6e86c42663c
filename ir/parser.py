"""Reading a transition from its text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .dataflow import HIDDEN, OPEN, Crossing
from .expression import Expression
from .lexer import Lexer
from .plan import Operation, Part, Plan
from .plan_parser import parse_plan
from .scope import Scope
from .transition import (
    Association,
    Certificate,
    Dependence,
    Group,
    Input,
    Label,
    OpenScope,
    Output,
    Param,
    Reason,
    Region,
    Site,
    State,
    StateKind,
    Transition,
    Verdict,
    Weight,
)
from .values import Value


def parse(text: str, *, operations: tuple[type[Operation | Part], ...] = (), file: str = "<text>") -> Transition:
    """The transition that `render` wrote as `text`; its regions have no bodies.

    `operations` are the plan operations, and parts of them, that are known besides those of `etir.ir.plan`; `file` is
    what errors call the text. Raises EtirError, with line, column and carets, where the text is wrong.
    """
    return _Parser(Scope(Lexer(text, file)), operations).transition()


@dataclass(slots=True)
class _Parser:
    """One reading of one text."""

    scope: Scope
    operations: tuple[type[Operation | Part], ...]
    inputs: list[Input] = field(default_factory=list[Input])
    outputs: list[Output] = field(default_factory=list[Output])
    regions: list[Callable[[], Region]] = field(default_factory=list[Callable[[], Region]])
    open: OpenScope | None = None
    certificate: Certificate | None = None
    plan: Plan | None = None

    @property
    def lexer(self) -> Lexer:
        return self.scope.lexer

    def transition(self) -> Transition:
        self.lexer.expect("transition")
        self.lexer.expect("@")
        name, loc = self.lexer.name(), self.lexer.loc()
        self.lexer.expect("{")
        while not self.lexer.accept("}"):
            self.entry()
        self.lexer.take("end", "the end of the text")
        return Transition(
            name=name,
            params=tuple(self.scope.params),
            states=tuple(self.scope.states),
            inputs=tuple(self.inputs),
            outputs=tuple(self.outputs),
            regions=tuple(region() for region in self.regions),
            weights=tuple(self.scope.weights),
            sites=tuple(self.scope.sites),
            groups=tuple(group for group in self.scope.groups if group.region == HIDDEN),
            associations=tuple(a for a in self.scope.associations if a.group.region == HIDDEN),
            open=self.open,
            certificate=self.certificate,
            plan=self.plan,
            loc=loc,
        )

    def entry(self) -> None:
        """One line or block of the body."""
        entries = {
            "param": self.param,
            "state": self.state,
            "input": self.input,
            "output": self.output,
            "weight": self.weight,
            "value": self.value,
            "region": self.region,
            "site": self.site,
            "group": self.group,
            "open": self.open_scope,
            "certificate": self.read_certificate,
            "plan": self.read_plan,
        }
        token = self.lexer.take("word", "an entry such as 'param', 'state' or 'site', or '}'")
        if token.text not in entries:
            raise self.lexer.unknown("entry", token, entries)
        entries[token.text]()

    def typed(self) -> Value:
        """A name, a colon and a type."""
        token = self.lexer.take("value")
        self.lexer.expect(":")
        return self.scope.declare(token, self.lexer.type())

    def param(self) -> None:
        value, path = self.typed(), self.lexer.string()
        frozen = bool(self.lexer.accept("frozen"))
        self.scope.params.append(Param(path=path, value=value, frozen=frozen, loc=self.lexer.loc()))

    def input(self) -> None:
        value, path = self.typed(), self.lexer.string()
        mark = bool(self.lexer.accept("mark"))
        self.inputs.append(Input(path=path, value=value, mark=mark, loc=self.lexer.loc()))

    def output(self) -> None:
        value, path = self.typed(), self.lexer.string()
        self.outputs.append(Output(path=path, value=value, loc=self.lexer.loc()))

    def value(self) -> None:
        tokens = [self.lexer.take("value")]
        while self.lexer.accept(","):
            tokens.append(self.lexer.take("value"))
        self.lexer.expect(":")
        type_ = self.lexer.type()
        for token in tokens:
            self.scope.declare(token, type_)

    def state(self) -> None:
        before = self.lexer.take("value")
        self.lexer.expect("->")
        after = self.lexer.take("value")
        self.lexer.expect(":")
        type_ = self.lexer.type()
        left = self.scope.declare(before, type_)
        right = self.scope.declare(after, self.lexer.type() if self.lexer.accept("->") else type_)
        token = self.lexer.take("word", "a kind of state")
        kinds = {kind.value: kind for kind in StateKind}
        if token.text not in kinds:
            raise self.lexer.unknown("kind of state", token, kinds)
        path = self.lexer.string()
        loc = self.lexer.loc()
        self.scope.states.append(State(path=path, before=left, after=right, kind=kinds[token.text], loc=loc))

    def weight(self) -> None:
        token = self.lexer.take("value")
        if self.lexer.accept(":"):
            value = self.scope.declare(token, self.lexer.type())
            self.lexer.expect("=")
            self.lexer.expect("prologue")
            self.lexer.expect("(")
            params = tuple(self.scope.param() for _ in self.lexer.until(")"))
            self.scope.weights.append(Weight(value=value, params=params, loc=self.lexer.loc()))
            return
        params = [self.scope.param(token)]
        while self.lexer.accept(","):
            params.append(self.scope.param())
        self.scope.weights += [Weight(value=param.value, params=(param,)) for param in params]

    def region(self) -> None:
        """A region; its values are looked up at the end, since sites below may declare them."""
        self.lexer.expect("@")
        name = self.lexer.name()
        self.lexer.expect("(")
        inputs = [self.lexer.take("value") for _ in self.lexer.until(")")]
        self.lexer.expect("->")
        self.lexer.expect("(")
        outputs = [self.lexer.take("value") for _ in self.lexer.until(")")]
        equations = self.lexer.integer()
        if not self.lexer.accept("equations", "equation"):
            self.lexer.expect("equations")
        self.lexer.expect(",")
        self.lexer.expect("digest")
        digest = self.lexer.raw(r"[\w.:+-]+", "a digest").text
        loc = self.lexer.loc()
        self.regions.append(
            lambda: Region(
                name=name,
                inputs=tuple(map(self.scope.lookup, inputs)),
                outputs=tuple(map(self.scope.lookup, outputs)),
                equations=equations,
                recorded=digest,
                loc=loc,
            )
        )

    def site(self) -> None:
        output = self.typed()
        self.lexer.expect("=")
        token = self.lexer.take("word", "an operation such as etp.dot")
        if not token.text.startswith("etp."):
            raise self.lexer.error("ir-syntax", f"expected an operation such as etp.dot, found {token}", token)
        self.lexer.expect("(")
        operands = [self.lexer.take("value") for _ in self.lexer.until(")")]
        if not 1 <= len(operands) <= 2:
            found = f"{len(operands)} operands"
            raise self.lexer.error("ir-syntax", f"expected a weight, or data and a weight, found {found}", token)
        data = self.scope.lookup(operands[0]) if len(operands) == 2 else None
        weight = self.scope.weight(operands[-1])
        expression = Expression.parse(self.lexer.string())
        self.lexer.expect("equation")
        equation = self.lexer.integer()
        held = self.lexer.accept("held") is not None
        self.scope.sites.append(
            Site(
                operation=token.text.removeprefix("etp."),
                expression=expression,
                data=data,
                weight=weight,
                output=output,
                equation=equation,
                held=held,
                loc=self.lexer.loc(),
            )
        )

    def open_scope(self) -> None:
        """The groups of the open scope, and their associations."""
        self.lexer.expect("{")
        while not self.lexer.accept("}"):
            self.lexer.expect("group")
            self.group(OPEN)
        groups = tuple(group for group in self.scope.groups if group.region == OPEN)
        associations = tuple(a for a in self.scope.associations if a.group.region == OPEN)
        self.open = OpenScope(groups=groups, associations=associations)

    def group(self, region: str = HIDDEN) -> None:
        self.lexer.expect("#")
        index = self.lexer.integer()
        self.lexer.expect("[")
        states = tuple(self.scope.state() for _ in self.lexer.until("]"))
        self.lexer.expect("shape")
        shape, loc = self.lexer.shape(), self.lexer.loc()
        self.lexer.expect("{")
        jacobian, inflow = self.dependences("jacobian"), self.dependences("inflow")
        group = Group(index=index, states=states, shape=shape, jacobian=jacobian, inflow=inflow, region=region, loc=loc)
        self.scope.groups.append(group)
        while not self.lexer.accept("}"):
            self.lexer.expect("associate")
            self.scope.associations.append(self.association(group))

    def dependences(self, word: str) -> tuple[Dependence, ...]:
        found: list[Dependence] = []
        while self.lexer.accept(word):
            found.append(self.dependence())
        return tuple(found)

    def dependence(self) -> Dependence:
        of = self.scope.state()
        self.lexer.expect("<-")
        on = self.scope.state()
        self.lexer.expect(":")
        return Dependence(of=of, on=on, coupling=self.lexer.coupling(on.before.type.shape, of.after.type.shape))

    def association(self, group: Group) -> Association:
        start = self.lexer.peek()
        weight = self.scope.weight()
        self.lexer.expect("at")
        site = self.scope.site()
        if site.weight is not weight:
            raise self.lexer.error("ir-name", f"{start} is not the weight of this site", start)
        self.lexer.expect(":")
        couplings = []
        for position, state in enumerate(group.states):
            if position:
                self.lexer.expect(",")
            inside, outside = site.output.type.shape, state.after.type.shape
            couplings.append(None if self.lexer.accept("none") else self.lexer.coupling(inside, outside))
        traced = self.lexer.accept("untraced") is None
        if traced:
            self.lexer.expect("traced")
        loc = self.lexer.loc() or site.loc
        through: list[Crossing] = []
        while self.lexer.accept("through"):
            operation, why = self.lexer.name("an operation"), self.lexer.string()
            through.append(Crossing(operation=operation, why=why, loc=self.lexer.loc()))
        return Association(
            site=site, group=group, couplings=tuple(couplings), traced=traced, through=tuple(through), loc=loc
        )

    def read_certificate(self) -> None:
        rule, window, credit = self.settings()
        self.lexer.expect("{")
        labels: list[Label] = []
        while not self.lexer.accept("}"):
            labels.append(self.label(rule))
        self.certificate = Certificate(rule=rule, window=window, credit=credit, labels=tuple(labels))

    def settings(self) -> tuple[str, int, str]:
        """A rule, its window, and its credit."""
        rule = self.lexer.name("a learning rule")
        for text in ("window", "="):
            self.lexer.expect(text)
        window = self.lexer.integer()
        for text in ("credit", "="):
            self.lexer.expect(text)
        return rule, window, self.lexer.name("'full' or 'rule'")

    def label(self, rule: str) -> Label:
        path = self.lexer.string()
        token = self.lexer.take("word", "a label: exact, approximate, truncated or frozen")
        verdicts = {verdict.value: verdict for verdict in Verdict}
        if token.text not in verdicts:
            raise self.lexer.unknown("label", token, verdicts)
        by = self.lexer.name("a learning rule") if self.lexer.accept("by") else rule
        reasons: list[Reason] = []
        while self.is_reason():
            reasons.append(Reason(text=self.lexer.string(), loc=self.lexer.loc()))
        because = self.lexer.string() if self.lexer.accept("because") else ""
        return Label(path=path, label=verdicts[token.text], rule=by, because=because, reasons=tuple(reasons))

    def is_reason(self) -> bool:
        """Whether a string follows that is no path: after a path stands a label."""
        start = self.lexer.position
        string = self.lexer.next()
        after = self.lexer.peek()
        self.lexer.position = start
        return string.kind == "string" and (after.kind != "word" or after.text in ("loc", "because"))

    def read_plan(self) -> None:
        rule, window, credit = self.settings()
        self.plan = parse_plan(self.scope, self.operations, rule, window, credit)
