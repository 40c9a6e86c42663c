"""Operations that combine positions along axes: reductions, scans of an axis, sorts, windows, transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir import jaxpr as jx
from .. import Coupling
from .context import Context, Couplings, Rule, for_each_output, in_shapes


def along(in_shape: Sequence[int], out_shape: Sequence[int], axes: Sequence[int]) -> Coupling:
    """Everything along some axes, each other axis position by position."""
    kept = [(axis, axis) for axis in range(len(in_shape)) if axis not in axes]
    return Coupling.matched(in_shape, out_shape, kept)


def reduce_axes(eqn: Any, context: Context) -> Couplings:
    """The given axes reduced; initial values, as `reduce` has them, reach everything."""
    del context
    axes = eqn.params["axes"] if "axes" in eqn.params else eqn.params["dimensions"]
    rank = len(jx.shape_of(eqn.invars[0]))
    return for_each_output(
        eqn, lambda shape, out: Coupling.reduced(shape, axes) if len(shape) == rank else Coupling.all(shape, out)
    )


def cumulative(eqn: Any, context: Context) -> Couplings:
    """One axis mixed: a position depends on all that come before it, taken as all."""
    del context
    return for_each_output(eqn, lambda shape, out: along(shape, out, [eqn.params["axis"]]))


def sort(eqn: Any, context: Context) -> Couplings:
    """Output `k` is operand `k`, permuted along one axis by an order that has no derivative."""
    del context
    return [
        [along(s, s, [eqn.params["dimension"]]) if k == position else None for k, s in enumerate(in_shapes(eqn))]
        for position in range(len(eqn.outvars))
    ]


def top_k(eqn: Any, context: Context) -> Couplings:
    """The greatest values along one axis, the last one unless it is given."""
    del context
    axis = eqn.params.get("axis", eqn.params.get("reduction_dimension", -1))
    return for_each_output(eqn, lambda shape, out: along(shape, out, [axis % len(shape)]))


def fft(eqn: Any, context: Context) -> Couplings:
    """The last axes mixed, as many as are transformed."""
    del context
    last = len(eqn.params["fft_lengths"])
    return for_each_output(eqn, lambda shape, out: along(shape, out, range(len(shape) - last, len(shape))))


def matrices(eqn: Any, context: Context) -> Couplings:
    """A linear-algebra operation: matrices on the last two axes mixed, leading axes position by position."""
    del context
    leading = len(jx.shape_of(eqn.invars[0])) - 2
    return for_each_output(eqn, lambda shape, out: Coupling.matched(shape, out, [(k, k) for k in range(leading)]))


def _window(eqn: Any, shape: Sequence[int], out_shape: Sequence[int]) -> Coupling | None:
    """The windows of a reduction over them."""
    ones = (1,) * len(shape)
    return Coupling.windowed(
        shape,
        out_shape,
        window=eqn.params["window_dimensions"],
        strides=eqn.params["window_strides"],
        padding=eqn.params["padding"],
        base_dilation=eqn.params.get("base_dilation") or ones,
        window_dilation=eqn.params.get("window_dilation") or ones,
    )


def windows(eqn: Any, context: Context) -> Couplings:
    """Each output position depends on a window of the operands; initial values reach everything."""
    del context
    rank = len(jx.shape_of(eqn.invars[0]))
    return for_each_output(
        eqn, lambda shape, out: _window(eqn, shape, out) if len(shape) == rank else Coupling.all(shape, out)
    )


def scatter_windows(eqn: Any, context: Context) -> Couplings:
    """Each source position is added to one position of its window, selected by the operand, which has no derivative."""
    del context
    source, out_shape = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0])
    window = _window(eqn, out_shape, source)
    return [[None if window is None else window.transpose(), None]]


REDUCTIONS = ["reduce", "reduce_max", "reduce_min", "reduce_prod", "reduce_sum"]
CUMULATIVE = ["cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"]
WINDOWS = ["reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum", "select_and_gather_add"]
MATRICES = [
    "cholesky",
    "eig",
    "eigh",
    "hessenberg",
    "householder_product",
    "lu",
    "ormqr",
    "qr",
    "schur",
    "svd",
    "symmetric_product",
    "triangular_solve",
    "tridiagonal",
]

RULES: dict[str, Rule] = {
    **dict.fromkeys(REDUCTIONS, reduce_axes),
    **dict.fromkeys(CUMULATIVE, cumulative),
    **dict.fromkeys(WINDOWS, windows),
    **dict.fromkeys(MATRICES, matrices),
    "sort": sort,
    "top_k": top_k,
    "approx_top_k": top_k,
    "fft": fft,
    "select_and_scatter_add": scatter_windows,
}
