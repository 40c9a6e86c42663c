"""Laying out text: aligned columns, lists that fill lines, and nested lists that open where they are too long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

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
        if position and len(lines[-1]) + 1 + len(text) > room:
            lines.append(hanging + text)
        else:
            lines[-1] += (" " if position else "") + text
    lines[-1] += tail
    return lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list whose items may be lists too: `head` ends with the opening bracket, `tail` is the closing one."""

    head: str
    items: tuple[Piece, ...]
    tail: str
    stacked: bool = False
    """Where it is too long for a line: one item on each line, in place of as many as fit."""

    def __str__(self) -> str:
        return f"{self.head}{', '.join(map(str, self.items))}{self.tail}"


Piece: TypeAlias = str | Listing


def prefixed(prefix: str, piece: Piece) -> Piece:
    """A piece of text with something in front."""
    return prefix + piece if isinstance(piece, str) else replace(piece, head=prefix + piece.head)


def spread(start: str, piece: Piece, tail: str) -> list[str]:
    """`start`, the piece, `tail`, on one line; where that is too long, the piece's items under each other."""
    short = f"{start}{piece}{tail}"
    if len(short) <= WIDTH or isinstance(piece, str) or not piece.items:
        return [short]
    head = start + piece.head
    texts = [str(item) for item in piece.items]
    if not piece.stacked and len(head) + max(map(len, texts)) < WIDTH:
        return wrap(head, texts, piece.tail + tail)
    hanging = " " * len(head)
    lines: list[str] = []
    for k, item in enumerate(piece.items):
        last = k + 1 == len(piece.items)
        lines += spread(hanging if k else head, item, piece.tail + tail if last else ",")
    return lines
