"""What the parser has read so far: values by name, and the nodes that later lines refer to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from .lexer import Lexer, Token
from .transition import Association, Group, Param, Site, State, Weight
from .types import TensorType
from .values import Value

Node = TypeVar("Node")


@dataclass(slots=True)
class Scope:
    """The names of a text and what they stand for."""

    lexer: Lexer
    values: dict[str, Value] = field(default_factory=dict[str, Value])
    params: list[Param] = field(default_factory=list[Param])
    states: list[State] = field(default_factory=list[State])
    weights: list[Weight] = field(default_factory=list[Weight])
    sites: list[Site] = field(default_factory=list[Site])
    groups: list[Group] = field(default_factory=list[Group])
    associations: list[Association] = field(default_factory=list[Association])

    def declare(self, token: Token, type_: TensorType) -> Value:
        """The value that `token` names, made where it is new; an error where it is known with another type."""
        value = self.values.setdefault(token.text, Value(type=type_, hint=token.text[1:]))
        if value.type != type_:
            raise self.lexer.error("ir-type", f"{token} is {value.type} above, but {type_} here", token)
        return value

    def value(self) -> Value:
        """The value that the next word names."""
        return self.lookup(self.lexer.take("value"))

    def lookup(self, token: Token) -> Value:
        """The value that `token` names; an error where no line has given it a type."""
        if token.text not in self.values:
            raise self.lexer.unknown("value", token, self.values)
        return self.values[token.text]

    def param(self, token: Token | None = None) -> Param:
        """The parameter whose value `token` names, or else the next word."""
        return self._find("parameter", token, ((p.value, p) for p in self.params))

    def state(self, token: Token | None = None) -> State:
        """The state whose value before the step `token` names, or else the next word."""
        return self._find("state", token, ((s.before, s) for s in self.states))

    def weight(self, token: Token | None = None) -> Weight:
        """The weight whose value `token` names, or else the next word."""
        return self._find("weight", token, ((w.value, w) for w in self.weights))

    def site(self, token: Token | None = None) -> Site:
        """The site whose output `token` names, or else the next word."""
        return self._find("site", token, ((s.output, s) for s in self.sites))

    def group(self) -> Group:
        """The group whose index is written as `#0`."""
        start = self.lexer.expect("#")
        index = self.lexer.integer()
        for group in self.groups:
            if group.index == index:
                return group
        token = Token(kind="group", text=f"#{index}", start=start.start, end=self.lexer.position)
        raise self.lexer.unknown("group", token, [f"#{group.index}" for group in self.groups])

    def _find(self, noun: str, token: Token | None, candidates: Iterable[tuple[Value, Node]]) -> Node:
        token = token or self.lexer.take("value")
        value = self.lookup(token)
        for candidate, node in candidates:
            if candidate is value:
                return node
        raise self.lexer.error("ir-name", f"{token} is not a {noun}", token)
