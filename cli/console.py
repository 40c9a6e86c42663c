"""What is printed, where: colours for people at a terminal, tables as wide as it is, warnings in one shape."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TextIO

from ..ir.diagnostics import EtirWarning

_CODES = {"exact": "32", "approximate": "33", "truncated": "31", "bold": "1", "faint": "2", "good": "32", "bad": "1;31"}
_UNLIMITED = 10_000
_LEAST = 8
"""Characters that a shortened column keeps, whatever the terminal's width."""


@contextmanager
def printing_aside() -> Generator[None]:
    """Send what the user's code prints to standard error: standard output is for what the command has to say."""
    with redirect_stdout(sys.stderr):
        yield


def paint(text: str, style: str) -> str:
    """The text in a style, where standard output is a terminal that takes colours."""
    terminal = sys.stdout.isatty() and not (os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb")
    if style not in _CODES or not terminal:
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def width() -> int:
    """How many columns standard output has; as good as unlimited where it is no terminal."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, columns: int, styles: Sequence[str | None]) -> str:
    """Rows under a heading. Where they are wider than `columns`, the first column is shortened in the middle.

    `styles` has one entry a row: the style of its last cell, or None.
    """
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    excess = sum(widths) + 2 * (len(widths) - 1) - columns
    if excess > 0:
        widths[0] = max(_LEAST, widths[0] - excess)
    lines = [paint(_row(head, widths), "bold")]
    for row, style in zip(rows, styles, strict=True):
        last = paint(row[-1], style) if style else row[-1]
        lines.append(_row((*row[:-1], last), widths))
    return "\n".join(lines)


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others, last = (shorten(cells[0], widths[0]), *cells[1:])
    middle = [f"{cell:<{size}}" for cell, size in zip(others, widths[1:], strict=False)]
    return "  ".join([f"{first:<{widths[0]}}", *middle, last]).rstrip()


def shorten(text: str, size: int) -> str:
    """The text with its middle left out, where it is longer than `size`."""
    if len(text) <= size:
        return text
    head = (size - 1) // 2
    return f"{text[:head]}…{text[len(text) - (size - 1 - head) :]}"


@contextmanager
def warnings_as_lines() -> Generator[None]:
    """Print the compiler's own warnings as what they are, without the line of code that raised them."""
    shown = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if issubclass(category, EtirWarning):
            sys.stderr.write(f"{message}\n")
        else:
            shown(message, category, filename, lineno, file, line)

    with warnings.catch_warnings():
        warnings.simplefilter("always", EtirWarning)
        warnings.showwarning = show
        yield
