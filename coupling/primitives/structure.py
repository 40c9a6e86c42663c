"""Operations that move, pick, join or repeat positions without arithmetic."""

from __future__ import annotations

from typing import Any

from ...ir import jaxpr as jx
from .. import Coupling
from .context import Context, Couplings, Rule, in_shapes


def broadcast_in_dim(eqn: Any, context: Context) -> Couplings:
    """Operand axis `k` is output axis `broadcast_dimensions[k]`."""
    del context
    axes = eqn.params["broadcast_dimensions"]
    first = Coupling.broadcast(jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0]), axes)
    return [[first, *(None for _ in eqn.invars[1:])]]


def reshape(eqn: Any, context: Context) -> Couplings:
    """The same positions in row-major order; `reshape` may permute the axes first."""
    del context
    shape, out_shape = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0])
    order = eqn.params.get("dimensions") if eqn.primitive.name == "reshape" else None
    if order is None:
        first = Coupling.reshaped(shape, out_shape)
    else:
        permuted = Coupling.permuted(shape, order)
        first = Coupling.reshaped(permuted.out_shape, out_shape).compose(permuted)
    return [[first, *(None for _ in eqn.invars[1:])]]


def transpose(eqn: Any, context: Context) -> Couplings:
    """Output axis `k` is operand axis `permutation[k]`."""
    del context
    return [[Coupling.permuted(jx.shape_of(eqn.invars[0]), eqn.params["permutation"])]]


def slice_(eqn: Any, context: Context) -> Couplings:
    """The positions from start to limit by strides."""
    del context
    params = eqn.params
    shape = jx.shape_of(eqn.invars[0])
    return [[Coupling.sliced(shape, params["start_indices"], params["limit_indices"], params["strides"])]]


def split(eqn: Any, context: Context) -> Couplings:
    """Neighbouring pieces of one axis."""
    del context
    shape, axis = jx.shape_of(eqn.invars[0]), eqn.params["axis"]
    start, pieces = 0, []
    for size in eqn.params["sizes"]:
        starts, limits = [0] * len(shape), list(shape)
        starts[axis], limits[axis] = start, start + size
        pieces.append([Coupling.sliced(shape, starts, limits)])
        start += size
    return pieces


def unstack(eqn: Any, context: Context) -> Couplings:
    """The operand's positions along one axis, one an output."""
    del context
    shape, axis = jx.shape_of(eqn.invars[0]), eqn.params["axis"]
    return [[_unstacked(shape, axis, k)] for k in range(len(eqn.outvars))]


def _unstacked(shape: tuple[int, ...], axis: int, position: int) -> Coupling | None:
    starts, limits = [0] * len(shape), list(shape)
    starts[axis], limits[axis] = position, position + 1
    piece = Coupling.sliced(shape, starts, limits)
    rest = shape[:axis] + shape[axis + 1 :]
    return None if piece is None else Coupling.reshaped(piece.out_shape, rest).compose(piece)


def concatenate(eqn: Any, context: Context) -> Couplings:
    """Each operand is a piece of the output."""
    del context
    out_shape, axis = jx.shape_of(eqn.outvars[0]), eqn.params["dimension"]
    start, pieces = 0, []
    for shape in in_shapes(eqn):
        starts = [0] * len(shape)
        starts[axis] = start
        pieces.append(Coupling.piece(shape, out_shape, starts))
        start += shape[axis]
    return [pieces]


def stack(eqn: Any, context: Context) -> Couplings:
    """Each operand is one position of the output's new axis."""
    del context
    out_shape, axis = jx.shape_of(eqn.outvars[0]), eqn.params["axis"]
    pieces = [_unstacked(out_shape, axis, k) for k in range(len(eqn.invars))]
    return [[None if piece is None else piece.transpose() for piece in pieces]]


def tile(eqn: Any, context: Context) -> Couplings:
    """The operand repeated along each axis."""
    del context
    shape, out_shape, reps = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0]), eqn.params["reps"]
    apart = [size for pair in zip(reps, shape, strict=True) for size in pair]
    repeated = Coupling.broadcast(shape, apart, range(1, 2 * len(shape), 2))
    return [[Coupling.reshaped(apart, out_shape).compose(repeated)]]


def pad(eqn: Any, context: Context) -> Couplings:
    """The operand is spread out in the output; the padding value is everywhere else."""
    del context
    shape, out_shape = jx.shape_of(eqn.invars[0]), jx.shape_of(eqn.outvars[0])
    return [[Coupling.padded(shape, eqn.params["padding_config"]), Coupling.all((), out_shape)]]


def rev(eqn: Any, context: Context) -> Couplings:
    """Some axes backwards."""
    del context
    return [[Coupling.reversed(jx.shape_of(eqn.invars[0]), eqn.params["dimensions"])]]


RULES: dict[str, Rule] = {
    "broadcast_in_dim": broadcast_in_dim,
    "reshape": reshape,
    "squeeze": reshape,
    "expand_dims": reshape,
    "transpose": transpose,
    "slice": slice_,
    "split": split,
    "unstack": unstack,
    "concatenate": concatenate,
    "stack": stack,
    "tile": tile,
    "pad": pad,
    "rev": rev,
}
