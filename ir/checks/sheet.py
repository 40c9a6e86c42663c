"""What a rule writes its findings with: the names of values, and the printed line that a finding is about."""

from __future__ import annotations

import re
from functools import cached_property

from ..attributes import mnemonic, place
from ..diagnostics import Diagnostic
from ..loc import Loc
from ..names import Names
from ..plan import Operation
from ..printer import render
from ..text import type_text
from ..transition import Association, Site, State, Transition
from ..values import Value

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


class Sheet:
    """The text of one transition, and findings that quote it. The text is made when the first finding needs it."""

    def __init__(self, transition: Transition) -> None:
        self.transition = transition

    @cached_property
    def _text(self) -> tuple[Names, list[str]]:
        names = Names()
        return names, render(self.transition, names).splitlines()

    @property
    def names(self) -> Names:
        """The names of the values, as the text has them."""
        return self._text[0]

    @property
    def _lines(self) -> list[str]:
        return self._text[1]

    def name(self, value: Value | None) -> str:
        """The name of a value."""
        return self.names[value]

    def typed(self, value: Value) -> str:
        """The name and the type of a value."""
        return f"{self.name(value)} : {type_text(value)}"

    def finding(
        self,
        code: str,
        message: str,
        *,
        line: str = "",
        mark: str = "",
        loc: Loc | None = None,
        help: str | None = None,
    ) -> Diagnostic:
        """A finding about the first line whose words begin with `line`, with carets under `mark`."""
        return _quoting(code, message, self._line(line) if line else None, mark, loc, help)

    def about(self, code: str, message: str, operation: Operation, mark: str = "") -> Diagnostic:
        """A finding about an operation: the line of it that has `mark`, else the one that begins the operation."""
        lines = self.operation_lines(operation)
        begins = next((line for line in lines if f"= {mnemonic(type(operation))}(" in line), None)
        marked = next((line for line in lines if mark and _find(mark, line) >= 0), begins)
        return _quoting(code, message, marked, mark, operation.loc or place(operation))

    def operation_lines(self, operation: Operation) -> list[str]:
        """The lines that show an operation: its results, then up to the parenthesis that closes it."""
        call = f"= {mnemonic(type(operation))}("
        first = re.escape(self.name(operation.results[0])) + r"(,| +:)" if operation.results else re.escape(call)
        start = next((k for k, line in enumerate(self._lines) if re.match(first, line.strip())), len(self._lines))
        found: list[str] = []
        called, depth = False, 0
        for line in self._lines[start:]:
            found.append(line.strip())
            bare = _STRING.sub("", line)
            called = called or call in bare
            depth += bare.count("(") - bare.count(")")
            if called and depth <= 0:
                break
        return found

    def _line(self, start: str) -> str | None:
        """The first line of the text that begins with these words, whatever the space between them."""
        end = r"(?![\w.])" if start[-1].isalnum() else ""
        wanted = re.compile(r"\s+".join(map(re.escape, start.split())) + end)
        return next((line.strip() for line in self._lines if wanted.match(line.strip())), None)

    def state_line(self, state: State) -> str:
        """How the line of a state begins."""
        return f"state {self.name(state.before)} ->"

    def site_line(self, site: Site) -> str:
        """How the line of a site begins."""
        return f"site {self.name(site.output)}"

    def association_line(self, association: Association) -> str:
        """How the line of an association begins."""
        return f"associate {self.name(association.site.weight.value)} at {self.name(association.site.output)}"


def _quoting(
    code: str, message: str, line: str | None, mark: str, loc: Loc | None, help: str | None = None
) -> Diagnostic:
    column = _find(mark, line) if line and mark else -1
    marks = (column, column + len(mark)) if column >= 0 else None
    return Diagnostic(code=code, message=message, loc=loc, help=help, excerpt=line, marks=marks)


def _find(mark: str, line: str) -> int:
    """Where `mark` stands in a line, not as the beginning of a longer name; -1 where it does not."""
    found = re.search(re.escape(mark) + (r"(?![\w.])" if mark[-1].isalnum() else ""), line)
    return found.start() if found else -1
