"""What a rule writes its findings with: the names of values, and the printed line that a finding is about."""

from __future__ import annotations

import re
from functools import cached_property

from ..diagnostics import Diagnostic
from ..loc import Loc
from ..names import Names
from ..printer import render
from ..text import type_text
from ..transition import Association, Site, State, Transition
from ..values import Value


class Sheet:
    """The text of one transition, and findings that quote it. The text is made when the first finding needs it."""

    def __init__(self, transition: Transition) -> None:
        self.transition = transition

    @cached_property
    def names(self) -> Names:
        """The names of the values, as the text has them."""
        names = Names()
        self._lines = render(self.transition, names).splitlines()
        return names

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
        text = self._line(line) if line else None
        column = text.find(mark) if text and mark else -1
        marks = (column, column + len(mark)) if column >= 0 else None
        return Diagnostic(code=code, message=message, loc=loc, help=help, excerpt=text, marks=marks)

    def _line(self, start: str) -> str | None:
        """The first line of the text that begins with these words, whatever the space between them."""
        _ = self.names
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
