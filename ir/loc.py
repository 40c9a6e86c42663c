"""Where in the user's source something came from."""

from __future__ import annotations

import inspect
import linecache
import os
import re
from dataclasses import dataclass
from typing import Any

_TEXT = re.compile(r"(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loc:
    """A place in a source file; lines and columns count from one."""

    file: str
    line: int
    column: int | None = None
    end_column: int | None = None

    def __str__(self) -> str:
        place = f"{os.path.basename(self.file)}:{self.line}"
        return place if self.column is None else f"{place}:{self.column}"

    @classmethod
    def parse(cls, text: str) -> Loc:
        """The location that `str` printed as `text`; ValueError where it is none."""
        match = _TEXT.fullmatch(text)
        if match is None:
            raise ValueError(f"not a location: {text!r}")
        column = match["column"]
        return cls(file=match["file"], line=int(match["line"]), column=int(column) if column else None)

    def source_line(self) -> str | None:
        """The line of source that this points at, without its newline; None where the file cannot be read."""
        return linecache.getline(self.file, self.line).rstrip("\n") or None


def definition(function: Any) -> Loc | None:
    """Where a function, or the class of a callable object, says what a call does; None where there is no source.

    A function that was made from another says where that one is in its attribute `defined_at`.
    """
    try:
        known = getattr(function, "defined_at", None)
        if isinstance(known, Loc):
            return known
        inner = inspect.unwrap(function)
        code = getattr(inner, "__code__", None) or type(inner).__call__.__code__
    except (AttributeError, ValueError):
        return None
    return Loc(file=code.co_filename, line=code.co_firstlineno)
