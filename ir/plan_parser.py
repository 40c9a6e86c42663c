"""Reading a plan from its text: any operation, known by the names of its class and of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from .attributes import Node, attribute_fields, is_required, place
from .expression import Expression
from .lexer import Token
from .plan import Operation, Part, Plan, Signal, Trace
from .plan_printer import PHASES
from .scope import Scope
from .transition import Association, Param
from .values import Value
from .vocabulary import vocabulary


def parse_plan(scope: Scope, operations: Iterable[type[Operation | Part]], rule: str, window: int, credit: str) -> Plan:
    """The plan whose header has been read."""
    lexer = scope.lexer
    loc = lexer.loc()
    lexer.expect("{")
    rules, left = _rules(scope, rule)
    because, window_because = _because(scope)
    fold, fold_because = _fold(scope)
    signals: list[Signal] = []
    while lexer.accept("signal"):
        signals.append(_signal(scope))
    traces: list[Trace] = []
    while lexer.accept("trace"):
        traces.append(_trace(scope))
    phases: dict[str, tuple[Operation, ...]] = {}
    known = vocabulary(operations)
    while not lexer.accept("}"):
        token = lexer.take("word", "a phase: step or window")
        if token.text not in PHASES:
            raise lexer.unknown("phase", token, PHASES)
        if PHASES[token.text] in phases:
            raise lexer.error("ir-syntax", f"phase {token} is there already", token)
        phases[PHASES[token.text]] = _phase(scope, known)
    return Plan(
        rule=rule,
        window=window,
        credit=credit,
        rules=rules,
        left=left,
        because=because,
        window_because=window_because,
        fold=fold,
        fold_because=fold_because,
        signals=tuple(signals),
        traces=tuple(traces),
        loc=loc,
        **phases,
    )


def _rules(scope: Scope, rule: str) -> tuple[tuple[str, ...], tuple[Param, ...]]:
    """The rule of each parameter, nothing where each has the plan's own; and those whose rule carries no trace."""
    lexer = scope.lexer
    given: dict[Param, str] = {}
    while lexer.accept("rule"):
        other = lexer.name("the name of a rule")
        for token in _after(scope, "for"):
            param = scope.param(token)
            if param in given:
                raise lexer.error("ir-name", f"{token} has a rule already", token)
            given[param] = other
    left = ()
    if lexer.accept("no"):
        lexer.expect("trace")
        left = tuple(scope.param(token) for token in _after(scope, "for"))
    return tuple(given.get(param, rule) for param in scope.params) if given else (), left


def _fold(scope: Scope) -> tuple[int, str]:
    """The steps of a fold that was chosen, and why; none where there is no such line."""
    lexer = scope.lexer
    if not lexer.accept("fold"):
        return 0, ""
    steps = lexer.integer()
    lexer.expect("because")
    return steps, lexer.string()


def _because(scope: Scope) -> tuple[tuple[str, ...], str]:
    """Why each parameter has its rule, nothing where no rule has chosen any; and why the window is so long."""
    given, window = dict[Param, str](), ""
    while scope.lexer.accept("because"):
        text = scope.lexer.string()
        scope.lexer.expect("for")
        if token := scope.lexer.accept("window"):
            if window:
                raise scope.lexer.error("ir-name", "the window has a reason already", token)
            window = text
            continue
        for token in _names(scope):
            param = scope.param(token)
            if param in given:
                raise scope.lexer.error("ir-name", f"{token} has a reason already", token)
            given[param] = text
    return tuple(given.get(param, "") for param in scope.params) if given else (), window


def _after(scope: Scope, word: str) -> list[Token]:
    """A word, and the names that follow it, with commas between them."""
    scope.lexer.expect(word)
    return _names(scope)


def _names(scope: Scope) -> list[Token]:
    """One name or more, with commas between them."""
    found = [scope.lexer.take("value")]
    while scope.lexer.accept(","):
        found.append(scope.lexer.take("value"))
    return found


def _signal(scope: Scope) -> Signal:
    lexer = scope.lexer
    token = lexer.take("value")
    lexer.expect(":")
    value = scope.declare(token, lexer.type())
    return Signal(path=lexer.string(), value=value, loc=lexer.loc())


def _trace(scope: Scope) -> Trace:
    lexer = scope.lexer
    before = lexer.take("value")
    lexer.expect("->")
    after = lexer.take("value")
    lexer.expect(":")
    first = lexer.type()
    second = lexer.type() if lexer.accept("->") else first
    values = scope.declare(before, first), scope.declare(after, second)
    label, start = lexer.string(), None
    if lexer.accept("start"):
        lexer.expect("@")
        start = lexer.name("the name of a region")
    return Trace(before=values[0], after=values[1], label=label, start=start, loc=lexer.loc())


def _phase(scope: Scope, known: dict[str, type[Any]]) -> tuple[Operation, ...]:
    scope.lexer.expect("{")
    found: list[Operation] = []
    while not scope.lexer.accept("}"):
        found.append(_operation(scope, known))
    return tuple(found)


def _operation(scope: Scope, known: dict[str, type[Any]]) -> Operation:
    lexer = scope.lexer
    results = _results(scope)
    token = lexer.take("word", "an operation")
    operations = {name: kind for name, kind in known.items() if issubclass(kind, Operation)}
    if token.text not in operations:
        raise lexer.unknown("operation", token, operations)
    arguments = _arguments(scope, token, operations[token.text], known, {})
    made = operations[token.text](results=results, loc=lexer.loc(), **arguments)
    return made if made.loc is not None else replace(made, loc=place(made))


def _results(scope: Scope) -> tuple[Value, ...]:
    """Typed results and an equals sign; nothing where an operation has no result."""
    lexer = scope.lexer
    found: list[Value] = []
    more = lexer.peek().kind == "value"
    while more:
        tokens = _names(scope)
        lexer.expect(":")
        kind = lexer.type()
        found += [scope.declare(token, kind) for token in tokens]
        more = lexer.accept(",") is not None
    lexer.expect("=")
    return tuple(found)


def _arguments(
    scope: Scope, token: Token, kind: type[Any], known: dict[str, type[Any]], said: dict[str, Node]
) -> dict[str, Any]:
    """The fields of an operation or a part, in parentheses; `said` has what the operation has named so far."""
    lexer = scope.lexer
    lexer.expect("(")
    arguments: dict[str, Any] = {}
    allowed = {f.name: f for f in attribute_fields(kind)}
    for _ in lexer.until(")"):
        name = lexer.take("word", "a field of the operation")
        if name.text not in allowed:
            raise lexer.unknown(f"field of '{token.text}'", name, allowed)
        if name.text in arguments:
            raise lexer.error("ir-syntax", f"field {name} is given twice", name)
        lexer.expect("=")
        arguments[name.text] = item = _attribute(scope, known, said)
        if isinstance(item, Node):
            said[name.text] = item
    for lacking in [name for name, f in allowed.items() if name not in arguments and is_required(f)]:
        if not (issubclass(kind, Part) and lacking in said):
            noun = "part" if issubclass(kind, Part) else "operation"
            raise lexer.error("ir-syntax", f"{noun} {token} lacks its field '{lacking}'", token)
        arguments[lacking] = said[lacking]
    return arguments


def _attribute(scope: Scope, known: dict[str, type[Any]], said: dict[str, Node]) -> Any:
    lexer = scope.lexer
    token = lexer.peek()
    match token.kind:
        case "value":
            return _value_or_association(scope)
        case "string":
            return lexer.string()
        case "number":
            return lexer.number()
        case "type":
            return lexer.type()
        case "mark" if token.text == "[":
            lexer.next()
            return tuple(_attribute(scope, known, said) for _ in lexer.until("]"))
        case "mark" if token.text == "#":
            return scope.group()
        case "word":
            return _word(scope, known, said)
        case _:
            raise lexer.error("ir-syntax", f"expected a field's value, found {token}", token)


def _value_or_association(scope: Scope) -> Value | Association:
    lexer = scope.lexer
    token = lexer.peek()
    value = scope.value()
    if not lexer.accept("->"):
        return value
    group = scope.group()
    for association in scope.associations:
        if association.site.output is value and association.group is group:
            return association
    raise lexer.error("ir-name", f"no association leads from {token} to group #{group.index}", token)


def _word(scope: Scope, known: dict[str, type[Any]], said: dict[str, Node]) -> Any:
    lexer = scope.lexer
    parts = {name: kind for name, kind in known.items() if issubclass(kind, Part)}
    readers: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "true": lambda: True,
        "false": lambda: False,
        "param": lambda: _one_or_list(scope, scope.param),
        "weight": lambda: _one_or_list(scope, scope.weight),
        "state": lambda: _one_or_list(scope, scope.state),
        "site": lambda: _one_or_list(scope, scope.site),
        "expression": lambda: Expression.parse(lexer.string()),
        "coupling": lambda: _coupling(scope),
    }
    token = lexer.next()
    if token.text in parts:
        return parts[token.text](**_arguments(scope, token, parts[token.text], known, said))
    if token.text not in readers:
        raise lexer.unknown("kind of field", token, {**readers, **parts})
    return readers[token.text]()


def _one_or_list(scope: Scope, read: Callable[[], Any]) -> Any:
    """What `read` reads, or a list of it in brackets."""
    return tuple(read() for _ in scope.lexer.until("]")) if scope.lexer.accept("[") else read()


def _coupling(scope: Scope) -> Any:
    """The shapes that a coupling is between, then its own text."""
    lexer = scope.lexer
    lexer.expect("from")
    in_shape = lexer.shape()
    lexer.expect("to")
    return lexer.coupling(in_shape, lexer.shape())
