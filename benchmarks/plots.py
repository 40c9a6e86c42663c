"""Pictures of a run: a bar for each ratio with its spread and its bound, and accuracy by rule; needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .record import Record


def draw(directory: Path, records: Sequence[Record]) -> list[Path]:
    """Write `time.png`, `accuracy.png` and so on, one for each metric among `records`; returns what was written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for metric in dict.fromkeys(r.metric for r in records):
        found = [r for r in records if r.metric == metric and r.program != r.against and r.value == r.value]
        if not found:
            continue
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.26 * len(found)), layout="constrained")
        _bars(axes, found, metric)
        path = directory / f"{metric}.png"
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        written.append(path)
    return written


def _bars(axes: Any, records: Sequence[Record], metric: str) -> None:
    places = list(range(len(records)))[::-1]
    colors = [{"held": "#2a7f62", "LOST": "#c0392b"}.get(r.verdict, "#7f8c8d") for r in records]
    axes.barh(places, [r.value for r in records], xerr=[r.spread or 0.0 for r in records], color=colors, height=0.7)
    for place, record in zip(places, records, strict=True):
        for bound in (record.most, record.least):
            if bound is not None:
                axes.plot([bound, bound], [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.set_yticks(places, [f"{r.case}: {r.program}" for r in records], fontsize=7)
    axes.set_ylim(-0.6, len(records) - 0.4)
    against = {r.against for r in records} - {None}
    axes.set_xlabel(metric + (f", ratio to {against.pop()}" if metric == "time" and len(against) == 1 else ""))
    if metric in ("time", "compile", "error"):
        axes.set_xscale("log")
