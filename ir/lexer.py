"""Reading the text form word by word, and saying where it is wrong."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from ..coupling import Coupling
from .diagnostics import Diagnostic, EtirError, nearest
from .loc import Loc
from .types import TensorType

_TOKENS = re.compile(
    r"""(?P<value>%[\w.]+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<type>[A-Za-z_]\w*(?:<\w+>)?\[[\d,\s]*\])
      | (?P<number>-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf\b)|nan\b)
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<hole><\w*>)
      | (?P<mark>->|<-|[{}()\[\]:,=@\#])
      | (?P<other>.)""",
    re.VERBOSE,
)
_SPACE = re.compile(r"(?:\s|//[^\n]*)*")

WANTED = {
    "value": "a value such as %h",
    "string": "a quoted string",
    "type": "a type such as f32[8,16]",
    "number": "a number",
    "word": "a word",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A word of the text: its kind, its characters, and where they are."""

    kind: str
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        return "the end of the text" if self.kind == "end" else f"'{self.text}'"


class Lexer:
    """A position in a text, and the words that follow it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.position = 0

    def peek(self) -> Token:
        """The next word, left where it is."""
        start = self.position = self._after_space()
        match = _TOKENS.match(self.text, start)
        if match is None:
            return Token(kind="end", text="", start=start, end=start)
        return Token(kind=str(match.lastgroup), text=match[0], start=start, end=match.end())

    def next(self) -> Token:
        """The next word, taken."""
        token = self.peek()
        self.position = token.end
        return token

    def accept(self, *texts: str) -> Token | None:
        """The next word where it is one of `texts`, taken; else None."""
        return self.next() if self.peek().text in texts and self.peek().kind != "string" else None

    def expect(self, text: str) -> Token:
        """The next word, which must be `text`."""
        return self.accept(text) or self._unexpected(f"'{text}'")

    def take(self, kind: str, wanted: str | None = None) -> Token:
        """The next word, which must be of this kind."""
        return self.next() if self.peek().kind == kind else self._unexpected(wanted or WANTED[kind])

    def _unexpected(self, wanted: str) -> Token:
        token = self.peek()
        unfinished = token.text == '"'
        raise self.error(
            "ir-syntax", f"expected {wanted}, found {'a string without end' if unfinished else token}", token
        )

    def string(self) -> str:
        """The next word, a quoted string, without its quotes."""
        token = self.take("string")
        try:
            return str(json.loads(token.text))
        except ValueError:
            raise self.error("ir-syntax", "this string has an unknown escape", token) from None

    def name(self, wanted: str = "a name") -> str:
        """The next word, or the next string: how names are written that are no single word."""
        return self.string() if self.peek().kind == "string" else self.take("word", wanted).text

    def integer(self) -> int:
        """The next word, a whole number."""
        token = self.take("number", "a whole number")
        if not re.fullmatch(r"-?\d+", token.text):
            raise self.error("ir-syntax", f"expected a whole number, found {token}", token)
        return int(token.text)

    def number(self) -> int | float:
        """The next word, a number."""
        token = self.take("number")
        return int(token.text) if re.fullmatch(r"-?\d+", token.text) else float(token.text)

    def type(self) -> TensorType:
        """The next word, a type."""
        return TensorType.parse(self.take("type").text)

    def shape(self) -> tuple[int, ...]:
        """Sizes in brackets."""
        self.expect("[")
        return tuple(self.integer() for _ in self.until("]"))

    def until(self, end: str) -> Iterable[int]:
        """Counts the items of a list with commas, up to and with `end`; the caller reads each item."""
        count = 0
        while not self.accept(end):
            if count:
                self.expect(",")
            yield count
            count += 1

    def raw(self, pattern: str, wanted: str) -> Token:
        """What `pattern` matches here, whatever words it is made of."""
        start = self.position = self._after_space()
        match = re.compile(pattern).match(self.text, start)
        if match is None:
            return self._unexpected(wanted)
        self.position = match.end()
        return Token(kind="raw", text=match[0], start=start, end=match.end())

    def loc(self) -> Loc | None:
        """A location, if one follows."""
        if not self.accept("loc"):
            return None
        self.expect("(")
        quoted = self.peek().kind == "string"
        token = self.peek() if quoted else self.raw(r"[^\s()]+", "a location such as model.py:9:4")
        text = self.string() if quoted else token.text
        self.expect(")")
        try:
            return Loc.parse(text)
        except ValueError:
            raise self.error("ir-syntax", f"expected a location such as model.py:9:4, found '{text}'", token) from None

    def coupling(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Coupling:
        """The text of a coupling: up to a comma or a space outside brackets."""
        start = end = self.position = self._after_space()
        depth = 0
        while end < len(self.text) and (depth > 0 or self.text[end] not in " \n,)]}"):
            depth += {"[": 1, "(": 1, "{": 1, "]": -1, ")": -1, "}": -1}.get(self.text[end], 0)
            end += 1
        token = Token(kind="raw", text=self.text[start:end], start=start, end=end)
        self.position = end
        try:
            return Coupling.parse(" ".join(token.text.split()), in_shape, out_shape)  # its line may be folded
        except (ValueError, zlib.error) as failure:
            raise self.error("ir-syntax", f"{token} is no coupling here: {failure}", token) from None

    def unknown(self, noun: str, token: Token, known: Iterable[str]) -> EtirError:
        """The error for a name that stands for nothing."""
        mark = "%" if token.kind == "value" else ""
        close = nearest(token.text.removeprefix(mark), [name.removeprefix(mark) for name in known])
        help = f"did you mean '{mark}{close}'?" if close else None
        return self.error("ir-name", f"unknown {noun} {token}", token, help)

    def error(self, code: str, message: str, token: Token, help: str | None = None) -> EtirError:
        """An error about `token`, with its line and carets."""
        begin = self.text.rfind("\n", 0, token.start) + 1
        line = self.text[begin:].split("\n", 1)[0]
        indent = len(line) - len(line.lstrip())
        column = token.start - begin
        length = max(1, min(token.end, begin + len(line)) - token.start)
        loc = Loc(file=self.file, line=self.text.count("\n", 0, token.start) + 1, column=column + 1)
        marks = (max(0, column - indent), max(0, column - indent) + length)
        return EtirError(
            [Diagnostic(code=code, message=message, loc=loc, help=help, excerpt=line.lstrip(), marks=marks)]
        )

    def _after_space(self) -> int:
        match = _SPACE.match(self.text, self.position)
        return match.end() if match else self.position
