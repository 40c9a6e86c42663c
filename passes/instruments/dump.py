"""Writing transitions to files: every stage, or the one at which a pass crashed."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

from ...ir.diagnostics import EtirError
from ...ir.printer import render
from ...ir.transition import Transition
from ..base import Pass
from .base import Instrument

_PIPELINE = "// pipeline: "


class DumpDirectory(Instrument):
    """Writes the transition before the first pass and after each one: `00-input.txt`, `01-canonicalise.txt`, ..."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._count = 0

    def before(self, pass_: Pass, transition: Transition) -> None:
        """Writes what the first pass is given."""
        if self._count == 0:
            self._write("input", transition)

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Writes what a pass has made."""
        self._write(pass_.name, after)

    def finished(self) -> None:
        """Numbers the files of the next run from zero again."""
        self._count = 0

    def _write(self, name: str, transition: Transition) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        (self._path / f"{self._count:02}-{name}.txt").write_text(render(transition))
        self._count += 1


class CrashReproducer(Instrument):
    """When a pass crashes, writes the transition that it was given, the passes that remained, and the traceback.

    The file is a text that `parse` reads, with the rest in comments; `reproducer_pipeline` reads the passes. An
    EtirError is the user's mistake and not a crash.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def failed(self, remaining: Sequence[Pass], transition: Transition, failure: Exception) -> None:
        """Writes the reproducer and adds a note with its path to the exception."""
        if isinstance(failure, EtirError):
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(reproducer(remaining, transition, failure))
        failure.add_note(f"pass '{remaining[0].name}' crashed; a reproducer is in {self._path}")


def reproducer(remaining: Sequence[Pass], transition: Transition, failure: Exception) -> str:
    """The text of a reproducer."""
    bodies = [f"region @{region.name}:\n{region.body}" for region in transition.regions if region.body is not None]
    trace = "".join(traceback.format_exception(failure))
    parts = [f"{type(failure).__name__}: {failure}", *bodies, trace]
    head, *tail = ("\n".join(f"// {line}".rstrip() for line in part.splitlines()) for part in parts)
    pipeline = ",".join(map(_pass_text, remaining))
    return "\n".join([head, f"{_PIPELINE}{pipeline}", "", render(transition), *(f"{part}\n" for part in tail)])


def _pass_text(pass_: Pass) -> str:
    """The text of a pass; its name alone where an option has no text."""
    try:
        return str(pass_)
    except TypeError:
        return pass_.name


def reproducer_pipeline(text: str) -> str:
    """The passes of a reproducer, as a textual pipeline; ValueError where the text is none."""
    for line in text.splitlines():
        if line.startswith(_PIPELINE):
            return line.removeprefix(_PIPELINE)
    raise ValueError("not a reproducer: no line begins with '// pipeline: '")
