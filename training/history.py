"""What a training was like: one row an epoch, as a small table."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

ROW = ("epoch", "loss", "seconds")
"""What is in every row."""

Row = dict[str, float]
"""Numbers by name: `epoch`, counted from one, `loss`, whatever callbacks added, and `seconds`."""


@dataclass(frozen=True, slots=True)
class History:
    """Rows of numbers by name, the same names in each; printed, and shown in a notebook, as a table."""

    rows: tuple[Row, ...] = ()

    def column(self, name: str) -> list[float]:
        """The numbers of one name, epoch by epoch."""
        return [row[name] for row in self.rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(f"{c:>{w}}" for c, w in zip(row, widths, strict=True)) for row in cells)

    def _repr_html_(self) -> str:
        head, *rows = [[html.escape(cell) for cell in row] for row in self._cells()]
        lines = ["".join(f"<th>{cell}</th>" for cell in head)]
        lines += ["".join(f"<td style='text-align:right'>{cell}</td>" for cell in row) for row in rows]
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"

    def _cells(self) -> list[list[str]]:
        names = list(dict.fromkeys(name for row in self.rows for name in row)) or list(ROW)
        return [names, *([text(row[name]) if name in row else "" for name in names] for row in self.rows)]


def text(number: Any) -> str:
    """A number in four digits; whole ones whole."""
    return f"{number}" if isinstance(number, int) else f"{number:.4g}"
