"""Timing passes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TextIO

from ...ir.transition import Transition
from ..base import Pass
from .base import Instrument


class Timing(Instrument):
    """Collects the seconds that each run of a pass took; writes the report to `stream`, if one is given, at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.records: list[tuple[str, float]] = []
        self._started = 0.0
        self._stream = stream

    def before(self, pass_: Pass, transition: Transition) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Stops the clock."""
        self.records.append((pass_.name, time.perf_counter() - self._started))

    def failed(self, remaining: Sequence[Pass], transition: Transition, failure: Exception) -> None:
        """Stops the clock for the pass that failed."""
        self.records.append((f"{remaining[0].name} (failed)", time.perf_counter() - self._started))

    def finished(self) -> None:
        """Writes the report."""
        if self._stream is not None:
            self._stream.write(self.report() + "\n")

    def report(self) -> str:
        """A line for each run of a pass, in order, and the total; seconds and shares of the total."""
        total = sum(seconds for _, seconds in self.records)
        rows = [*self.records, ("total", total)]
        width = max(len(name) for name, _ in rows)
        shares = [f"{100 * seconds / total if total else 0:5.1f} %" for _, seconds in rows]
        return "\n".join(
            f"{name:<{width}}  {seconds:9.4f} s  {share}" for (name, seconds), share in zip(rows, shares, strict=True)
        )
