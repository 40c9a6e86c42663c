"""A series over time as a heatmap: time to the right, units upwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .reading import new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABELS = 60
"""Steps that are labelled at most; of more, every second one, and so on."""


def units_of(values: np.ndarray, sample: int | None) -> np.ndarray:
    """`[times, units]` of `[times, ...]`: of a batch, `[times, batch, ...]`, one sample; None flattens all."""
    one = values[:, sample] if sample is not None and values.ndim > 2 else values
    return one.reshape(len(one), -1)


def heatmap(
    values: Any,
    *,
    labels: Sequence[Any] | None = None,
    sample: int | None = 0,
    title: str = "",
    times: Sequence[int] | np.ndarray | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw `[times, units]`, or one sample of `[times, batch, units]`: one row a unit; the axes.

    `labels` stand under the steps (tokens, say); without them, `times` say which steps the columns are. Numbers of both
    signs get a scale that is symmetric about zero. Needs matplotlib.
    """
    array = np.asarray(values)
    array = np.abs(array) if np.iscomplexobj(array) else array.astype(np.float64)
    rows = units_of(array, sample).T
    drawn = new_axes(axes, 9.0, 3.6)
    finite = rows[np.isfinite(rows)]
    top = float(np.abs(finite).max()) if finite.size else 1.0
    signed = bool(finite.size and finite.min() < 0)
    low, scale = (-top, "RdBu_r") if signed else (0.0, "viridis")
    image = drawn.imshow(
        rows, aspect="auto", origin="lower", cmap=scale, vmin=low, vmax=top or 1.0, interpolation="nearest"
    )
    drawn.set(xlabel="step", ylabel="unit", title=title)
    if labels is not None:
        stride = -(-len(labels) // _LABELS)
        places = range(0, len(labels), stride)
        drawn.set_xticks(list(places), [str(labels[k]) for k in places], rotation=45, ha="right")
        drawn.set_xlabel("")
    elif times is not None and len(times):
        places = np.unique(np.linspace(0, len(times) - 1, min(8, len(times))).astype(int))
        drawn.set_xticks(list(places), [str(times[k]) for k in places])
    drawn.figure.colorbar(image, ax=drawn, label="value", pad=0.01)
    return drawn
