"""What was recorded of a run: states, outputs, spikes, surrogate derivatives and traces over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..ir.diagnostics import did_you_mean, error
from ..ir.plan.cost import human_bytes
from ..ir.types import TensorType
from .heatmap import heatmap
from .reading import Reading, Table, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = Mapping[str, np.ndarray]
"""Arrays with a leading time axis, by name."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False, eq=False)
class Recording(Reading):
    """What was recorded, every `every` steps. Each array is `[times, ...]`, and has what was there after the step."""

    name: str
    length: int
    """How many steps the run had."""
    every: int
    steps: np.ndarray
    """After how many steps each entry was taken."""
    states: Series
    outputs: Series
    spikes: Series
    """The share of the last `every` steps in which each neuron spiked, by spike function: 0 or 1 where that is one."""
    surrogates: Series
    """The surrogate derivatives of the same, at that step."""
    traces: Series
    """What was kept of each trace."""
    after: Any
    """The states after the run, to go on from."""
    carry: Any
    """The carry after the run, where traces were recorded; else None."""

    @property
    def series(self) -> dict[str, np.ndarray]:
        """Everything: states by path, and `output y`, `spikes ...`, `surrogate ...`, `trace ...`."""
        kinds = {"output": self.outputs, "spikes": self.spikes, "surrogate": self.surrogates, "trace": self.traces}
        beside = {f"{kind} {name}": x for kind, of in kinds.items() for name, x in of.items()}
        return dict(self.states) | beside

    def __getitem__(self, name: str) -> np.ndarray:
        """One of the series. Raises EtirError for a name that there is not."""
        return chosen(self.series, name)[1]

    @property
    def nbytes(self) -> int:
        """What the arrays hold, in bytes."""
        return sum(x.nbytes for x in self.series.values())

    def table(self) -> Table:
        """A line for each series: its type at one time, and where its numbers lie."""
        which = "each" if self.every == 1 else f"one in {self.every}"
        return Table(
            title=f"{self.name}: {self.length} steps, {which} recorded, {human_bytes(self.nbytes)}",
            head=("recorded", "type", "mean", "std", "min", "max"),
            rows=[_row(name, x) for name, x in self.series.items()],
        )

    def plot(
        self, axes: Axes | None = None, *, name: str | None = None, labels: Any = None, sample: int | None = 0
    ) -> Axes:
        """A heatmap of one series, the first by default: see `heatmap`, which takes `labels` and `sample`."""
        found, values = chosen(self.series, name)
        times = None if self.every == 1 else self.steps
        return heatmap(values, labels=labels, sample=sample, title=found, axes=axes, times=times)


def chosen(series: Series, name: str | None) -> tuple[str, np.ndarray]:
    """One of some series, the first by default, and its name. Raises EtirError where there is none of that name."""
    found = next(iter(series), None) if name is None else name
    if found is None or found not in series:
        raise error(
            "recorded-name",
            "nothing was recorded" if name is None else f"nothing was recorded as '{name}'",
            help=did_you_mean(name or "", series) or "ask record for states=, outputs=, spikes= or traces=",
        )
    return found, series[found]


def as_series(given: Any) -> Series:
    """The states of a recording, a mapping as it is, or one array `[times, ...]` as the state `h`."""
    if isinstance(given, Recording):
        return given.states
    if isinstance(given, Mapping):
        return {str(name): np.asarray(x) for name, x in given.items()}
    return {"h": np.asarray(given)}


def real_series(given: Any) -> dict[str, np.ndarray]:
    """Those of `as_series` that are of floating type, as float64; complex ones by their absolute value."""
    found = {name: np.asarray(x) for name, x in as_series(given).items()}
    return {name: magnitude_or_real(x) for name, x in found.items() if is_inexact(x)}


def is_inexact(x: np.ndarray) -> bool:
    """Whether an array is of floating or complex type; numpy does not know all of JAX's."""
    return TensorType(str(x.dtype), x.shape).carries_credit


def magnitude_or_real(x: np.ndarray) -> np.ndarray:
    """An array as float64; a complex one by its absolute value."""
    return np.abs(x) if np.iscomplexobj(x) else x.astype(np.float64)


def _row(name: str, x: np.ndarray) -> tuple[str, ...]:
    kind = str(TensorType(str(x.dtype), x.shape[1:]))
    if not is_inexact(x):
        return name, kind, "", "", str(x.min()) if x.size else "", str(x.max()) if x.size else ""
    return name, kind, *moments(magnitude_or_real(x))


def moments(values: np.ndarray) -> tuple[str, str, str, str]:
    """Mean, standard deviation, least and largest of some numbers, for a table; nothing of none."""
    if not values.size:
        return "", "", "", ""
    with np.errstate(over="ignore", invalid="ignore"):
        return number(values.mean()), number(values.std()), number(values.min()), number(values.max())
