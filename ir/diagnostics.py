"""Findings about a user's program, and the one exception that carries them.

A new one is raised where the mistake is seen, `raise error("some-code", ...)`, and its code explained in one line of
docs/errors.md; there is no list of codes in the source, and a test compares the two.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .loc import Loc, calling_frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding: what was found, what was wanted, where, and what to do about it.

    `code` is the finding's stable name (one entry in docs/errors.md), `excerpt` an optional line to show in place of
    the source line, and `marks` the (start, end) columns of the carets under it, counted from zero.
    """

    code: str
    message: str
    loc: Loc | None = None
    notes: tuple[str, ...] = ()
    help: str | None = None
    severity: str = "error"
    excerpt: str | None = None
    marks: tuple[int, int] | None = None

    def __str__(self) -> str:
        place = f"{self.loc}: " if self.loc else ""
        lines = [f"{place}{self.severity}: {self.message} [{self.code}]", *self._excerpt_lines()]
        lines += [f"  note: {note}" for note in self.notes]
        lines += [f"  help: {self.help}"] if self.help else []
        return "\n".join(lines)

    def _excerpt_lines(self) -> list[str]:
        text, marks = self.excerpt, self.marks
        if text is None and self.loc is not None:
            text = self.loc.source_line()
            if text is not None:
                indent = len(text) - len(text.lstrip())
                text, marks = text.lstrip(), self._caret_columns(len(text), indent)
        if text is None:
            return []
        return [f"  {text}"] + ([f"  {' ' * marks[0]}{'^' * max(1, marks[1] - marks[0])}"] if marks else [])

    def _caret_columns(self, length: int, indent: int) -> tuple[int, int] | None:
        if self.loc is None or self.loc.column is None:
            return None
        start = self.loc.column - 1 - indent
        end = (self.loc.end_column or length + 1) - 1 - indent
        return (start, end) if start >= 0 else None


class EtirError(Exception):
    """A mistake in the user's program: all the findings of one run, raised once."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(str(d) for d in self.diagnostics))


class EtirWarning(UserWarning):
    """A finding that does not stop the program."""


def warn(finding: Diagnostic) -> None:
    """Warn of a finding, in the name of the innermost line on the call stack that is not this package's, nor JAX's."""
    frame = calling_frame()
    if frame is None:
        warnings.warn(str(finding), EtirWarning, stacklevel=2)
        return
    names = frame.f_globals
    warnings.warn_explicit(
        str(finding),
        EtirWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=names.get("__name__"),
        registry=names.setdefault("__warningregistry__", {}),
    )


def error(
    code: str, message: str, *, loc: Loc | None = None, notes: Iterable[str] = (), help: str | None = None
) -> EtirError:
    """An exception with one diagnostic."""
    return EtirError([Diagnostic(code=code, message=message, loc=loc, notes=tuple(notes), help=help)])


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """The candidate that `name` was probably meant to be, or None; the last part of one dotted path stands for it."""
    known = list(candidates)
    ends = [candidate for candidate in known if candidate.endswith(f".{name}")]
    found = ends if len(ends) == 1 else difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, candidates: Iterable[str], noun: str = "") -> str | None:
    """A `help:` sentence that proposes the nearest candidate, else lists them all; None where there are none."""
    known = sorted(candidates)
    if not known:
        return None
    close = nearest(name, known)
    prefix = f"{noun} " if noun else ""
    return f"did you mean {prefix}'{close}'?" if close else f"known: {', '.join(known)}"
