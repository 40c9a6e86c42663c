"""What an instrument has read: numbers that print as a table, and may be drawn."""

from __future__ import annotations

import html
import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..ir.diagnostics import error

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A title, rows of cells under a head, and what is to be said of them."""

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(row[k]) for row in lines) for k in range(len(self.head))]
        table = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in lines]
        return "\n".join([self.title, *table, *self.notes])

    def html(self) -> str:
        """The same as HTML, for a notebook."""

        def row(cells: Sequence[str], tag: str) -> str:
            inside = "".join(f"<{tag} style='text-align:left'>{html.escape(cell)}</{tag}>" for cell in cells)
            return f"<tr>{inside}</tr>"

        body = "".join([row(self.head, "th"), *(row(cells, "td") for cells in self.rows)])
        notes = "".join(f"<div style='white-space:pre-wrap'>{html.escape(note)}</div>" for note in self.notes)
        return f"<div>{html.escape(self.title)}</div><table>{body}</table>{notes}"


class Reading(ABC):
    """What an instrument has read."""

    __slots__ = ()

    @abstractmethod
    def table(self) -> Table:
        """The reading as a table."""

    @abstractmethod
    def plot(self, axes: Axes | None = None) -> Axes:
        """A picture of it in these axes, or in a new figure; the axes. It needs matplotlib."""

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html()


def new_axes(axes: Axes | None, width: float, height: float) -> Any:
    """The axes to draw in: those given, or a new figure's, so many inches wide and high.

    Raises EtirError where matplotlib is not installed.
    """
    if axes is not None:
        return axes
    try:
        pyplot = importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise error(
            "plot-library",
            "a picture was asked for, and matplotlib is not installed",
            help="pip install 'etir[plots]'; the numbers are there without it",
        ) from None
    return pyplot.subplots(figsize=(width, height), layout="constrained")[1]


def number(value: float) -> str:
    """A number for a table, in three digits."""
    return f"{value:.3g}"
