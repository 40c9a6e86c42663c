"""Relations of the operations that move or pick positions along one axis."""

from __future__ import annotations

import numpy as np

from .relation import All, Relation, Same, Shifts, canonical
from .table import from_table


def slice_relation(n_in: int, n_out: int, start: int, stride: int) -> Relation | None:
    """Output `o` is input `start + o * stride`."""
    if stride == 1 or n_out <= 1:
        return canonical((Shifts(n_in, n_out, ((start, start),)),))
    if n_out * stride == n_in and start < stride:
        return canonical((Same(n_out), Shifts(stride, 1, ((start, start),))))
    return from_table(n_in, (start + stride * np.arange(n_out, dtype=np.int32))[:, None])


def pad_relation(n_in: int, n_out: int, low: int, interior: int) -> Relation | None:
    """Output `low + i * (interior + 1)` is input `i`, all others depend on nothing."""
    if not n_in or not n_out:
        return None
    if interior == 0:
        return canonical((Shifts(n_in, n_out, ((-low, -low),)),))
    rows = np.full(n_out, -1, np.int32)
    inputs = np.arange(n_in, dtype=np.int32)
    outputs = low + inputs * (interior + 1)
    inside = (outputs >= 0) & (outputs < n_out)
    rows[outputs[inside]] = inputs[inside]
    return from_table(n_in, rows[:, None])


def reverse_relation(size: int) -> Relation:
    """Output `o` is input `size - 1 - o`."""
    relation = from_table(size, np.arange(size - 1, -1, -1, dtype=np.int32)[:, None])
    assert relation is not None
    return relation


def window_relation(
    n_in: int, n_out: int, *, window: int, stride: int, low: int, base_dilation: int, window_dilation: int
) -> Relation | None:
    """Output `o` depends on the inputs at `o * stride - low + k * window_dilation` of the dilated input."""
    if not n_in or not n_out:
        return None
    if base_dilation == 1 and (stride == 1 or n_out == 1):
        shifts = (k * window_dilation - low for k in range(window))
        return canonical((Shifts.of(n_in, n_out, shifts),))
    if base_dilation == window_dilation == 1 and low == 0 and window == stride and n_out * stride == n_in:
        return canonical((Same(n_out), All(stride, 1)))
    offsets = np.arange(window, dtype=np.int32) * window_dilation - low
    places = np.arange(n_out, dtype=np.int32)[:, None] * stride + offsets
    inside = (places >= 0) & (places % base_dilation == 0) & (places // base_dilation < n_in)
    return from_table(n_in, np.where(inside, places // base_dilation, -1))
