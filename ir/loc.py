"""Where in the user's source something came from."""

from __future__ import annotations

import inspect
import itertools
import linecache
import os
import re
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

_PACKAGE = __name__.partition(".")[0]
_MACHINERY = (_PACKAGE, "jax", "functools", "contextlib")
_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep
_INSTALLED = tuple(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("stdlib", "purelib", "platlib"))
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
        """The line of source that this points at, without its newline; None where the file cannot be read.

        A location that was read from text has only the file's name: no folder is searched for a file called so.
        """
        if not os.path.isabs(self.file) and self.file not in linecache.cache:
            return None
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


def instruction(code: CodeType, offset: int) -> Loc:
    """The place in the source of the instruction at this offset, in bytes, of a code object.

    An expression over several lines is placed at its first line, to that line's end: it has no end column.
    """
    places = itertools.islice(code.co_positions(), offset // 2, None)
    line, end_line, column, end_column = next(places, (None,) * 4)
    return Loc(
        file=code.co_filename,
        line=line or code.co_firstlineno,
        column=None if column is None else column + 1,
        end_column=None if end_column is None or end_line != line else end_column + 1,
    )


def calling_line() -> Loc | None:
    """The place on the call stack that `calling_frame` finds; None without one."""
    frame = calling_frame()
    return None if frame is None else instruction(frame.f_code, frame.f_lasti)


def failing_line(fault: BaseException) -> Loc | None:
    """The innermost place in the user's source that an exception, or what it came from, passed; None without one.

    What is installed, and Python's own library, is no user's.
    """
    for cause in chain(fault):
        passed = [(frame.f_code, offset) for frame, offset in _passed(cause) if not _is_others(frame)]
        if passed:
            return instruction(*passed[-1])
    return None


def chain(fault: BaseException) -> list[BaseException]:
    """What an exception was raised from, the first cause first, and the exception itself."""
    found = [fault]
    while (cause := found[0].__cause__) is not None and cause not in found:
        found.insert(0, cause)
    return found


def _passed(fault: BaseException) -> Iterator[tuple[FrameType, int]]:
    trace = fault.__traceback__
    while trace is not None:
        yield trace.tb_frame, trace.tb_lasti
        trace = trace.tb_next


def _is_others(frame: FrameType) -> bool:
    file, module = frame.f_code.co_filename, frame.f_globals.get("__name__")
    if module is None and file.startswith(_FOLDER):  # a frame as JAX keeps it, of a trace that has ended
        module = f"{_PACKAGE}.{file[len(_FOLDER) :].replace(os.sep, '.')}"
    return is_installed(file) or is_machinery(module or "")


def is_installed(file: str) -> bool:
    """Whether a file of source is of an installed package, or of Python itself."""
    return any(file.startswith(folder) for folder in _INSTALLED) or file.startswith("<frozen")


def calling_frame() -> FrameType | None:
    """The innermost frame on the call stack that is neither this package's (but its zoo's) nor JAX's; None without one.

    JAX decorates its own functions by means of functools and contextlib, whose frames are no user's either.
    """
    frame = inspect.currentframe()
    while frame is not None and is_machinery(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return frame


def is_machinery(module: str) -> bool:
    """Whether a module is this package's (but its zoo's), JAX's, or one by which they decorate their functions."""
    if module.startswith(f"{_PACKAGE}.zoo"):
        return False
    return any(module == name or module.startswith(f"{name}.") for name in _MACHINERY)
