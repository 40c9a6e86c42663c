"""Textual pipelines: `canonicalise,mark-sites{sites=auto}`, read against the passes that the caller knows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass
from enum import Enum
from typing import Any, get_type_hints

from ..ir.checks.fields import fits, hint_text
from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from .base import Pass
from .options import RESERVED, WORD, default_of, option_fields

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][\w-]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf\b)")


def parse_pipeline(
    text: str, known: Iterable[type[Pass]] | Mapping[str, type[Pass]], values: Iterable[type] = ()
) -> list[Pass]:
    """The passes that a text names, options set.

    `known` are the classes of passes that may be named. `values` are the classes, with a `name` like a pass, that may
    be the value of an option, as in `plan-traces{rule=my_rule{decay=0.8}}`. Raises EtirError, with the text and carets,
    for an unknown pass or option, a value of the wrong type, or text that is no pipeline.
    """
    classes = known.values() if isinstance(known, Mapping) else known
    tables = {pass_.name: pass_ for pass_ in classes}, {str(value.name): value for value in values}
    return _Reader(text, *tables).pipeline()


@dataclass(slots=True)
class _Reader:
    """A position in a pipeline's text."""

    text: str
    passes: Mapping[str, type[Pass]]
    values: Mapping[str, type]
    position: int = 0

    def pipeline(self) -> list[Pass]:
        found: list[Pass] = []
        while not self.at_end():
            if found:
                self.expect(",")
            found.append(self.object_of("pass", self.passes))
        return found

    def object_of(self, noun: str, table: Mapping[str, type]) -> Any:
        """A name, then options in braces if there are any."""
        start, name = self.match(_NAME, f"the name of a {noun}")
        if name not in table:
            code = "unknown-pass" if noun == "pass" else "unknown-value"
            raise self.error(code, f"unknown {noun} '{name}'", start, len(name), did_you_mean(name, table))
        options = self.options(noun, name, table[name]) if self.accept("{") else {}
        lacking = [f.name for f in option_fields(table[name]) if default_of(f) is MISSING and f.name not in options]
        if lacking:
            message = f"{noun} '{name}' needs its option '{lacking[0]}'"
            raise self.error("missing-option", message, start, len(name))
        return table[name](**options)

    def options(self, noun: str, owner: str, cls: type) -> dict[str, Any]:
        """Options up to the closing brace, each checked against the field of its name."""
        hints = _hints(cls)
        allowed = [f.name for f in option_fields(cls)]
        found: dict[str, Any] = {}
        while not self.accept("}"):
            if found:
                self.expect(",")
            start, name = self.match(_NAME, "the name of an option")
            if name not in allowed:
                help = did_you_mean(name, allowed) or f"'{owner}' has no options"
                raise self.error("unknown-option", f"{noun} '{owner}' has no option '{name}'", start, len(name), help)
            if name in found:
                raise self.error("pipeline-syntax", f"option '{name}' is given twice", start, len(name))
            self.expect("=")
            start = self.skip()
            found[name] = self.fitted(self.value(), hints.get(name, Any), f"option '{name}' of '{owner}'", start)
        return found

    def fitted(self, value: Any, hint: Any, subject: str, start: int) -> Any:
        """`value`, as a member where an enumeration is wanted; an error where it is not of the annotated type."""
        if isinstance(hint, type) and issubclass(hint, Enum) and value in [member.value for member in hint]:
            return hint(value)
        if not fits(value, hint):
            written = self.text[start : self.position].strip()
            message = f"{subject} is {written}; wanted {hint_text(hint)}"
            raise self.error("option-type", message, start, len(written))
        return value

    def value(self) -> Any:
        self.skip()
        for pattern, read in ((_STRING, json.loads), (_NUMBER, _number)):
            found = pattern.match(self.text, self.position)
            if found is not None:
                self.position = found.end()
                return read(found[0])
        if self.accept("["):
            return self.items()
        start, word = self.match(WORD, "a value: a word, a quoted string, a number or a list in brackets")
        if self.text[self.position : self.position + 1] == "{":
            self.position = start
            return self.object_of("value", self.values)
        return RESERVED.get(word, word)

    def items(self) -> tuple[Any, ...]:
        """The items of a list up to its closing bracket."""
        found: list[Any] = []
        while not self.accept("]"):
            if found:
                self.expect(",")
            found.append(self.value())
        return tuple(found)

    def skip(self) -> int:
        """The position of the next character that is no space."""
        space = _SPACE.match(self.text, self.position)
        self.position = space.end() if space else self.position
        return self.position

    def at_end(self) -> bool:
        return self.skip() == len(self.text)

    def accept(self, mark: str) -> bool:
        self.skip()
        if not self.text.startswith(mark, self.position):
            return False
        self.position += len(mark)
        return True

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            raise self.unexpected(f"'{mark}'")

    def match(self, pattern: re.Pattern[str], wanted: str) -> tuple[int, str]:
        start = self.skip()
        found = pattern.match(self.text, start)
        if found is None:
            raise self.unexpected(wanted)
        self.position = found.end()
        return start, found[0]

    def unexpected(self, wanted: str) -> EtirError:
        rest = self.text[self.position :]
        found = f"'{rest[0]}'" if rest else "the end of the pipeline"
        return self.error("pipeline-syntax", f"expected {wanted}, found {found}", self.position, 1)

    def error(self, code: str, message: str, start: int, length: int, help: str | None = None) -> EtirError:
        marks = (start, start + length)
        return EtirError([Diagnostic(code=code, message=message, help=help, excerpt=self.text, marks=marks)])


def _hints(cls: type) -> dict[str, Any]:
    """The annotations of a class; none where one names something that is not there at run time."""
    try:
        return get_type_hints(cls)
    except NameError:
        return {}


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)
