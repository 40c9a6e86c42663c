"""Printing the transition around passes."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import TextIO

from ...ir.printer import render
from ...ir.transition import Transition
from ..base import Pass
from .base import Instrument


class PrintIR(Instrument):
    """Writes the transition before or after passes, or what they changed as a diff, to a stream (standard error).

    `only` names the passes to print around; none means all.
    """

    def __init__(
        self,
        *,
        before: bool = False,
        after: bool = False,
        changed: bool = False,
        only: Sequence[str] = (),
        stream: TextIO | None = None,
    ) -> None:
        self._before, self._after, self._changed = before, after, changed
        self._only = frozenset(only)
        self._stream = stream

    def before(self, pass_: Pass, transition: Transition) -> None:
        """Prints the transition that a pass is given."""
        if self._before and self._wanted(pass_):
            self._write(f"// before {pass_}\n{render(transition)}\n")

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Prints the transition that a pass has made, or its difference to the one before."""
        if not self._wanted(pass_):
            return
        if self._after:
            self._write(f"// after {pass_}\n{render(after)}\n")
        if self._changed and after is not before:
            self._write(f"// changed by {pass_}\n{difference(before, after)}\n")

    def _wanted(self, pass_: Pass) -> bool:
        return not self._only or pass_.name in self._only

    def _write(self, text: str) -> None:
        (self._stream or sys.stderr).write(text)


def difference(before: Transition, after: Transition) -> str:
    """The lines that differ between the texts of two transitions, marked `-` and `+`, three lines around each."""
    lines = difflib.unified_diff(render(before).splitlines(), render(after).splitlines(), lineterm="")
    return "\n".join(list(lines)[2:]) or "(the same text)"
