"""Sizes of relations and the dense form of a coupling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .relation import All, Leaf, Relation, Same, Shifts, Table

if TYPE_CHECKING:
    from .coupling import Coupling


def fan_in(relation: Relation) -> int:
    """The largest number of inputs of an output."""
    return math.prod(_leaf_fan_in(leaf) for leaf in relation)


def fan_out(relation: Relation) -> int:
    """The largest number of outputs of an input."""
    return math.prod(_leaf_fan_out(leaf) for leaf in relation)


def _leaf_fan_in(leaf: Leaf) -> int:
    match leaf:
        case Same():
            return 1
        case All(n_in):
            return n_in
        case Shifts():
            return _shifts_fan_in(leaf)
        case Table():
            return leaf.array.shape[1]


def _leaf_fan_out(leaf: Leaf) -> int:
    match leaf:
        case Same():
            return 1
        case All(_, n_out):
            return n_out
        case Shifts(n_in, n_out, runs):
            return _shifts_fan_in(Shifts(n_out, n_in, tuple((-high, -low) for low, high in reversed(runs))))
        case Table():
            inputs = leaf.array
            return int(np.bincount(inputs[inputs >= 0]).max())


def _shifts_fan_in(leaf: Shifts) -> int:
    """The count of shifts in range is concave and linear between these outputs, so one of them has the most."""
    last = leaf.n_in - 1
    ends = {0, leaf.n_out - 1}
    for low, high in leaf.runs:
        ends |= {-low, -high, last - low, last - high}
    inside = [o for o in ends if 0 <= o < leaf.n_out]
    return max(sum(max(0, min(high, last - o) - max(low, -o) + 1) for low, high in leaf.runs) for o in inside)


def dense(coupling: Coupling) -> npt.NDArray[np.bool_]:
    """All pairs as an array `out_shape + in_shape`."""
    rank_out = len(coupling.out_shape)
    shape = (*coupling.out_shape, *coupling.in_shape)
    result = np.ones(shape, np.bool_)
    for block in coupling.blocks:
        axes = (*block.out_axes, *(rank_out + axis for axis in block.in_axes))
        part = dense_relation(block.relation).reshape([shape[axis] for axis in axes])
        part = part.transpose(np.argsort(axes)) if axes else part
        result &= part.reshape([size if axis in axes else 1 for axis, size in enumerate(shape)])
    return result


def dense_relation(relation: Relation) -> npt.NDArray[np.bool_]:
    """All pairs of a relation as an array `[n_out, n_in]`."""
    result = np.ones((1, 1), np.bool_)
    for leaf in relation:
        result = np.kron(result, _dense_leaf(leaf))
    return result


def _dense_leaf(leaf: Leaf) -> npt.NDArray[np.bool_]:
    match leaf:
        case Same(n):
            return np.eye(n, dtype=np.bool_)
        case All(n_in, n_out):
            return np.ones((n_out, n_in), np.bool_)
        case Shifts(n_in, n_out, runs):
            shift = np.arange(n_in)[None, :] - np.arange(n_out)[:, None]
            return np.any([(shift >= low) & (shift <= high) for low, high in runs], axis=0)
        case Table(n_in, n_out):
            rows = leaf.array
            result = np.zeros((n_out, n_in), np.bool_)
            outputs, columns = np.nonzero(rows >= 0)
            result[outputs, rows[outputs, columns]] = True
            return result
