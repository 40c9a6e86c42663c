"""Reading a plan from its text: any operation, known by the names of its class and of its fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

from . import plan
from .expression import Expression
from .lexer import Token
from .plan import Operation, Plan, Trace
from .plan_printer import PHASES, attribute_fields, mnemonic
from .scope import Scope
from .transition import Association
from .values import Value


def known_operations(more: tuple[type[Operation], ...] = ()) -> dict[str, type[Operation]]:
    """Operations by the name that the text calls them: those of `etir.ir.plan`, and `more`."""
    own = [c for c in vars(plan).values() if isinstance(c, type) and issubclass(c, Operation) and c is not Operation]
    return {mnemonic(operation): operation for operation in (*own, *more)}


def parse_plan(scope: Scope, operations: tuple[type[Operation], ...], rule: str, window: int, credit: str) -> Plan:
    """The plan whose header has been read."""
    lexer, known = scope.lexer, known_operations(operations)
    loc = lexer.loc()
    lexer.expect("{")
    traces: list[Trace] = []
    while lexer.accept("trace"):
        traces.append(_trace(scope))
    phases: dict[str, tuple[Operation, ...]] = {}
    while not lexer.accept("}"):
        token = lexer.take("word", "a phase: step or window")
        if token.text not in PHASES:
            raise lexer.unknown("phase", token, PHASES)
        phases[PHASES[token.text]] = _phase(scope, known)
    return Plan(rule=rule, window=window, credit=credit, traces=tuple(traces), loc=loc, **phases)


def _trace(scope: Scope) -> Trace:
    lexer = scope.lexer
    before = lexer.take("value")
    lexer.expect("->")
    after = lexer.take("value")
    lexer.expect(":")
    first = lexer.type()
    second = lexer.type() if lexer.accept("->") else first
    values = scope.declare(before, first), scope.declare(after, second)
    return Trace(before=values[0], after=values[1], label=lexer.string(), loc=lexer.loc())


def _phase(scope: Scope, known: dict[str, type[Operation]]) -> tuple[Operation, ...]:
    scope.lexer.expect("{")
    found: list[Operation] = []
    while not scope.lexer.accept("}"):
        found.append(_operation(scope, known))
    return tuple(found)


def _operation(scope: Scope, known: dict[str, type[Operation]]) -> Operation:
    lexer = scope.lexer
    results = _results(scope)
    token = lexer.take("word", "an operation")
    if token.text not in known:
        raise lexer.unknown("operation", token, known)
    operation = known[token.text]
    lexer.expect("(")
    arguments: dict[str, Any] = {}
    for _ in lexer.until(")"):
        name = lexer.take("word", "a field of the operation")
        allowed = [f.name for f in attribute_fields(operation)]
        if name.text not in allowed:
            raise lexer.unknown(f"field of '{token.text}'", name, allowed)
        lexer.expect("=")
        arguments[name.text] = _attribute(scope)
    _check_complete(scope, token, operation, arguments)
    return operation(results=results, loc=lexer.loc(), **arguments)


def _check_complete(scope: Scope, token: Token, operation: type[Operation], arguments: dict[str, Any]) -> None:
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


def _attribute(scope: Scope) -> Any:
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
            return tuple(_attribute(scope) for _ in lexer.until("]"))
        case "mark" if token.text == "#":
            return scope.group()
        case "word":
            return _word(scope)
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


def _word(scope: Scope) -> Any:
    lexer = scope.lexer
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
    if token.text not in readers:
        raise lexer.unknown("kind of field", token, readers)
    return readers[token.text]()


def _coupling(scope: Scope) -> Any:
    """The shapes that a coupling is between, then its own text."""
    lexer = scope.lexer
    lexer.expect("from")
    in_shape = lexer.shape()
    lexer.expect("to")
    return lexer.coupling(in_shape, lexer.shape())
