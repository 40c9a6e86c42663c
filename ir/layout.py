"""Laying out text: aligned columns, and argument lists that wrap."""

from __future__ import annotations

import re
from collections.abc import Sequence

WIDTH = 112
WIDEST_COLUMN = 88


def align(rows: Sequence[Sequence[str]], indent: str = "") -> list[str]:
    """One line for each row, its cells padded to the columns' widths; a very wide cell does not widen its column."""
    count = max((len(row) for row in rows), default=0)
    widths = [max((w for row in rows if (w := _width(row, k)) <= WIDEST_COLUMN), default=0) for k in range(count)]
    return [indent + "".join(cell.ljust(widths[k]) for k, cell in enumerate(row)).rstrip() for row in rows]


def _width(row: Sequence[str], column: int) -> int:
    return len(row[column]) if column < len(row) else 0


def wrap(head: str, items: Sequence[str], tail: str, indent: str = "") -> list[str]:
    """`head`, the items with commas between them, `tail`: on one line, or on more, the items under each other."""
    hanging = " " * (len(indent) + len(head))
    lines = [indent + head]
    for position, item in enumerate(items):
        text = item + ("," if position + 1 < len(items) else "")
        room = WIDTH - (len(tail) if position + 1 == len(items) else 0)
        started = lines[-1].strip() != "" and not lines[-1].endswith(head)
        if started and len(lines[-1]) + 1 + len(text) > room:
            lines.append(hanging + text)
        else:
            lines[-1] += (" " if started else "") + text
    lines[-1] += tail
    return lines


def fold(line: str) -> list[str]:
    """A line that is too long, its first list in brackets wrapped; any other line as it is."""
    start = line.find("[") + 1
    if len(line) <= WIDTH or not start:
        return [line]
    return wrap(line[:start], _split(line[start:]), "")


def _split(text: str) -> list[str]:
    """The parts of a text between commas, quoted strings left whole."""
    return [part.strip() for part in re.findall(r'(?:"(?:[^"\\]|\\.)*"|(?!, )[^"])+', text)]
