"""Reading a plan from its text: any operation, known by the names of its class and of its fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import MISSING
from typing import Any

from . import plan
from .attributes import attribute_fields, mnemonic
from .expression import Expression
from .lexer import Token
from .plan import Operation, Part, Plan, Signal, Trace
from .plan_printer import PHASES
from .scope import Scope
from .transition import Association
from .values import Value


def known_operations(more: Iterable[type[Operation | Part]] = ()) -> dict[str, type[Any]]:
    """Operations, and parts of them, by the name that the text calls them: those of `etir.ir.plan`, and `more`."""
    own = [c for c in vars(plan).values() if isinstance(c, type) and issubclass(c, (Operation, Part))]
    return {mnemonic(kind): kind for kind in (*own, *more) if kind not in (Operation, Part)}


def parse_plan(scope: Scope, operations: Iterable[type[Operation | Part]], rule: str, window: int, credit: str) -> Plan:
    """The plan whose header has been read."""
    lexer, known = scope.lexer, known_operations(operations)
    loc = lexer.loc()
    lexer.expect("{")
    rules = _rules(scope) if lexer.accept("rules") else ()
    signals: list[Signal] = []
    while lexer.accept("signal"):
        signals.append(_signal(scope))
    traces: list[Trace] = []
    while lexer.accept("trace"):
        traces.append(_trace(scope))
    phases: dict[str, Any] = {}
    while not lexer.accept("}"):
        token = lexer.take("word", "a phase: step or window")
        if token.text not in PHASES:
            raise lexer.unknown("phase", token, PHASES)
        phases[PHASES[token.text]] = _phase(scope, known)
    return Plan(
        rule=rule,
        window=window,
        credit=credit,
        rules=rules,
        signals=tuple(signals),
        traces=tuple(traces),
        loc=loc,
        **phases,
    )


def _rules(scope: Scope) -> tuple[str, ...]:
    scope.lexer.expect("[")
    return tuple(scope.lexer.take("word", "the name of a rule").text for _ in scope.lexer.until("]"))


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
        start = lexer.take("word", "the name of a region").text
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
    arguments = _arguments(scope, token, operations[token.text], known)
    return operations[token.text](results=results, loc=lexer.loc(), **arguments)


def _arguments(scope: Scope, token: Token, kind: type[Any], known: dict[str, type[Any]]) -> dict[str, Any]:
    """The fields of an operation, or of a part of one, in parentheses."""
    lexer = scope.lexer
    lexer.expect("(")
    arguments: dict[str, Any] = {}
    for _ in lexer.until(")"):
        name = lexer.take("word", "a field of the operation")
        allowed = [f.name for f in attribute_fields(kind)]
        if name.text not in allowed:
            raise lexer.unknown(f"field of '{token.text}'", name, allowed)
        lexer.expect("=")
        arguments[name.text] = _attribute(scope, known)
    _check_complete(scope, token, kind, arguments)
    return arguments


def _check_complete(scope: Scope, token: Token, operation: type[Any], arguments: dict[str, Any]) -> None:
    required = [f.name for f in attribute_fields(operation) if f.default is MISSING and f.default_factory is MISSING]
    lacking = [name for name in required if name not in arguments]
    if lacking:
        raise scope.lexer.error("ir-syntax", f"operation {token} lacks its field '{lacking[0]}'", token)


def _results(scope: Scope) -> tuple[Value, ...]:
    """Typed results and an equals sign; nothing where an operation has no result."""
    lexer = scope.lexer
    found: list[Value] = []
    if lexer.peek().kind == "value":
        more = True
        while more:
            token = lexer.take("value")
            lexer.expect(":")
            found.append(scope.declare(token, lexer.type()))
            more = lexer.accept(",") is not None
    lexer.expect("=")
    return tuple(found)


def _attribute(scope: Scope, known: dict[str, type[Any]]) -> Any:
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
            return tuple(_attribute(scope, known) for _ in lexer.until("]"))
        case "mark" if token.text == "#":
            return scope.group()
        case "word":
            return _word(scope, known)
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


def _word(scope: Scope, known: dict[str, type[Any]]) -> Any:
    lexer = scope.lexer
    parts = {name: kind for name, kind in known.items() if issubclass(kind, Part)}
    readers: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "true": lambda: True,
        "false": lambda: False,
        "param": scope.param,
        "weight": scope.weight,
        "state": scope.state,
        "site": scope.site,
        "expression": lambda: Expression.parse(lexer.string()),
        "coupling": lambda: _coupling(scope),
    }
    token = lexer.next()
    if token.text in parts:
        return parts[token.text](**_arguments(scope, token, parts[token.text], known))
    if token.text not in readers:
        raise lexer.unknown("kind of field", token, {**readers, **parts})
    return readers[token.text]()


def _coupling(scope: Scope) -> Any:
    """The shapes that a coupling is between, then its own text."""
    lexer = scope.lexer
    lexer.expect("from")
    in_shape = lexer.shape()
    lexer.expect("to")
    return lexer.coupling(in_shape, lexer.shape())
