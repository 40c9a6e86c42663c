"""The pictures: what was learnt, and for the demo in how much memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLOURS = ("#1b6ca8", "#c8553d", "#6b7280", "#3f8f5b", "#b08400")
STYLES = ("-", "-", (0, (4, 2)))
INK = "#1f2933"
STYLE = {"font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": "#9aa5b1"}


def lines(
    path: Path,
    curves: Mapping[str, np.ndarray],
    *,
    x: np.ndarray,
    title: str,
    labels: tuple[str, str],
    levels: Mapping[str, float] | None = None,
    marks: Sequence[float] = (),
) -> None:
    """Write a picture of one panel: a mean over seeds, `[seeds, points]`, and the range of all of them, by name.

    `levels` are lines across that stand for something, `marks` places on the axis below.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.8, 3.7), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for place in marks:
            axes.axvline(place, color="#9aa5b1", linewidth=1, zorder=0)
        for (name, values), colour in zip(curves.items(), COLOURS, strict=False):
            axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
            axes.plot(x, values.mean(0), color=colour, linewidth=2, label=name)
        for name, level in (levels or {}).items():
            axes.axhline(level, color=INK, linewidth=1, linestyle=":", zorder=0)
            axes.annotate(
                name,
                (1, level),
                xycoords=("axes fraction", "data"),
                ha="right",
                fontsize=9,
                xytext=(-4, 3),
                textcoords="offset points",
            )
        axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(x[0], x[-1]))
        axes.set_title(title, loc="left", fontsize=10.5)
        axes.legend(frameon=False)
        _clean(axes)
        figure.savefig(path, dpi=110)


def learning_curves(
    path: Path,
    accuracy: Mapping[str, np.ndarray],
    memory: Mapping[str, Mapping[int, int]],
    *,
    steps_a_point: int,
    chance: float,
) -> None:
    """Write a picture of two panels: accuracy along the stream, and working memory by length of the sequence."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.9), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
        _accuracy(left, accuracy, steps_a_point, chance)
        _memory(right, memory)
        figure.savefig(path, dpi=130)


def _accuracy(axes: Axes, accuracy: Mapping[str, np.ndarray], steps_a_point: int, chance: float) -> None:
    for (name, values), colour, style in zip(accuracy.items(), COLOURS, STYLES, strict=False):
        steps = steps_a_point * (1 + np.arange(len(values))) / 1000
        axes.plot(steps, values, color=colour, alpha=0.2, linewidth=1)
        axes.plot(steps, _smooth(values), color=colour, linestyle=style, linewidth=2, label=name)
    axes.axhline(chance, color=INK, linewidth=1, linestyle=":", zorder=0)
    offset = {"xytext": (-4, 12), "textcoords": "offset points"}
    axes.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", fontsize=9, **offset)
    axes.set(xlabel="steps of the stream (thousands)", ylabel="right answers", ylim=(0, 1.03), xlim=(0, steps[-1]))
    axes.yaxis.set_major_formatter(ticker.PercentFormatter(1.0))
    axes.set_title("Recall after 50 to 100 steps, learnt in windows of 10", loc="left", fontsize=10.5)
    axes.legend(frameon=False, loc="center right")
    _clean(axes)


def _memory(axes: Axes, memory: Mapping[str, Mapping[int, int]]) -> None:
    lengths = list(next(iter(memory.values())))
    for k, ((name, sizes), colour) in enumerate(zip(memory.items(), COLOURS, strict=False)):
        places = np.arange(len(lengths)) + 0.27 * (k - 1)
        bars = axes.bar(places, [sizes[steps] / 2**20 for steps in lengths], width=0.24, color=colour, label=name)
        axes.bar_label(bars, fmt=_short, fontsize=8.5, padding=2)
    axes.set_xticks(range(len(lengths)), [f"{steps:,} steps" for steps in lengths])
    axes.set(yscale="log", xlabel="length of the sequence", ylabel="working memory (MiB)")
    axes.set_ylim(top=2 * axes.get_ylim()[1])
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda size, _: f"{size:g}"))
    axes.set_title("Memory of one gradient", loc="left", fontsize=10.5)
    _clean(axes)


def _short(size: float) -> str:
    return f"{size:.2g}" if size < 10 else f"{size:.0f}"


def _smooth(values: np.ndarray, width: int = 5) -> np.ndarray:
    """The running mean of the last `width` values."""
    return np.array([values[max(0, k + 1 - width) : k + 1].mean() for k in range(len(values))])


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e7eb", linewidth=0.8)
    axes.set_axisbelow(True)
