"""What single units do over a run: saturation, dead units, spike rates and silent neurons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.diagnostics import error
from .reading import Reading, Table, new_axes, number
from .recording import Recording, Series, as_series, real_series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#1b6ca8", "#c8553d", "#2a7d3f", "#9a6700", "#6b4fa0", "#6b7280")
"""The colours of curves and bars, in order."""


def per_unit(values: np.ndarray, function: Any) -> np.ndarray:
    """A function, with an `axis`, of all that each unit, on the last axis, was over times and samples."""
    return function(values.reshape(-1, values.shape[-1] if values.ndim > 1 else 1), axis=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStatistic:
    """A number for each unit of one series, and what it says of the whole."""

    each: np.ndarray
    """`[units]`."""
    cells: tuple[str, ...]
    """What the table shows of it."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Units(Reading):
    """Units sorted by what they do, for each state. Indexed by the state's path."""

    title: str
    head: tuple[str, ...]
    label: str
    """What is drawn for each unit."""
    statistics: Mapping[str, UnitStatistic]
    limit: float | None = None
    """A share of the time, drawn as a line."""

    def __getitem__(self, path: str) -> np.ndarray:
        """The number of each unit of one state."""
        return self.statistics[path].each

    def table(self) -> Table:
        """A line for each state."""
        rows = [(path, *found.cells) for path, found in self.statistics.items()]
        return Table(title=self.title, head=("of", *self.head), rows=rows)

    def plot(self, axes: Axes | None = None) -> Axes:
        """The units of each state in order of the number, from the largest."""
        drawn = new_axes(axes, 6.4, 3.4)
        for (path, found), colour in zip(self.statistics.items(), COLOURS * len(self.statistics), strict=False):
            heights = np.sort(found.each)[::-1]
            drawn.step(np.arange(1, len(heights) + 1), heights, where="mid", color=colour, linewidth=2, label=path)
        if self.limit is not None:
            drawn.axhline(
                self.limit, color="#6b7280", linestyle=":", linewidth=1, label=f"{self.limit:.0%} of the time"
            )
        drawn.set(xlabel="units, sorted", ylabel=self.label, title=self.title)
        drawn.set_ylim(bottom=0)
        drawn.legend(frameon=False)
        drawn.spines[["top", "right"]].set_visible(False)
        return drawn


def saturation(given: Any, *, threshold: float = 0.95, bound: float = 1.0) -> Units:
    """How often each unit is within `1 - threshold` of its bounds, `-bound` and `bound`, as a tanh's are.

    `given` is a recording, a mapping of series `[times, ..., units]`, or one of them. Where a unit is saturated, the
    derivative through it is nearly zero. Not of states that are not bounded: a saturation of a voltage says nothing.
    """

    def statistic(x: np.ndarray) -> UnitStatistic:
        high = np.abs(x) > threshold * bound
        each = per_unit(high.astype(float), np.mean)
        cells = f"{high.mean():.1%}", number(np.abs(x).mean()), number(np.abs(x).max()), f"{(each > 0.5).sum()}"
        return UnitStatistic(each=each, cells=cells)

    return Units(
        title=f"Saturation: |h| above {threshold * bound:g}",
        head=("saturated", "mean |h|", "max |h|", "units mostly saturated"),
        label="share of the time saturated",
        statistics={path: statistic(x) for path, x in _not_empty(real_series(given)).items()},
        limit=0.5,
    )


def dead_units(given: Any, *, tolerance: float = 1e-6) -> Units:
    """How much each unit varies, over times and samples, and which do not: those within `tolerance` of the largest.

    `given` is as for `saturation`. A dead unit is the same number whatever the input, so nothing is learned through it.
    """

    def statistic(x: np.ndarray) -> UnitStatistic:
        each = per_unit(x, np.std)
        dead = np.flatnonzero(each <= tolerance * max(float(np.abs(x).max()), 1e-30))
        cells = f"{len(dead)} of {len(each)}", number(float(np.median(each))), shown(dead)
        return UnitStatistic(each=each, cells=cells)

    return Units(
        title="Units that do not vary",
        head=("dead", "median std", "which"),
        label="standard deviation",
        statistics={path: statistic(x) for path, x in _not_empty(real_series(given)).items()},
    )


def spike_rates(given: Any, *, dt: float | None = None) -> Units:
    """How often each neuron spikes, per step, or in Hz where a step is `dt` seconds; and which are silent.

    `given` is a recording with `spikes=True`; or arrays `[times, ..., units]`, whose entries other than zero count as
    spikes. Raises EtirError where there are no spike functions to count.
    """
    series: Series
    if isinstance(given, Recording):
        series = given.spikes
        if not series:
            raise error(
                "no-spikes",
                "the recording has no spikes to count",
                help="record(..., spikes=True) finds spike functions by their surrogate derivative, written with "
                "jax.custom_jvp or jax.custom_vjp; else give the array of spikes itself",
            )
    else:
        series = {name: np.asarray(x) != 0 for name, x in as_series(given).items()}
    per, unit = (1.0, "a step") if dt is None else (dt, "Hz")

    def statistic(x: np.ndarray) -> UnitStatistic:
        each = per_unit(x.astype(np.float64), np.mean) / per
        silent = np.flatnonzero(each == 0)
        cells = number(float(each.mean())), number(float(each.max())), f"{len(silent)} of {len(each)}", shown(silent)
        return UnitStatistic(each=each, cells=cells)

    return Units(
        title=f"Spike rates, {'spikes' if dt is None else 'in'} {unit}",
        head=("mean", "highest", "silent", "which"),
        label=f"spikes {unit}" if dt is None else "spikes per second (Hz)",
        statistics={name: statistic(x) for name, x in _not_empty(series).items()},
    )


def _not_empty(series: Series) -> Series:
    """The series themselves. Raises EtirError where there are none."""
    if not any(x.size for x in series.values()):
        raise error("recorded-name", "nothing was recorded", help="record at least one state of floating type: keep=")
    return series


def shown(places: np.ndarray, most: int = 8) -> str:
    """The first of some places, for a table."""
    text = ", ".join(map(str, places[:most]))
    return f"{text}, ..." if len(places) > most else text
