"""Sums of products: matrix products, convolutions and weight operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...ir import jaxpr as jx
from ...ir.operations.call import body_of
from .. import All, Block, Coupling, Same
from .context import Context, Couplings, Rule, in_shapes


def by_labels(in_labels: Sequence[Any], out_labels: Sequence[Any], in_shape: Any, out_shape: Any) -> Coupling:
    """Axes with a common label agree; the operand's others are summed over, the output's others are repeated."""
    axes = [(k, out_labels.index(label)) for k, label in enumerate(in_labels) if label in out_labels]
    return Coupling.matched(in_shape, out_shape, axes)


def dot_general(eqn: Any, context: Context) -> Couplings:
    """Output axes are batch axes, then the first operand's free axes, then the second's."""
    del context
    (left_sums, right_sums), (left_batch, right_batch) = eqn.params["dimension_numbers"]
    left_shape, right_shape = in_shapes(eqn)[:2]
    out_shape = jx.shape_of(eqn.outvars[0])
    left_free = [k for k in range(len(left_shape)) if k not in (*left_sums, *left_batch)]
    right_free = [k for k in range(len(right_shape)) if k not in (*right_sums, *right_batch)]
    left = [(axis, place) for place, axis in enumerate([*left_batch, *left_free])]
    first_right = len(left)
    right = [(axis, place) for place, axis in enumerate(right_batch)]
    right += [(axis, first_right + place) for place, axis in enumerate(right_free)]
    return [[Coupling.matched(left_shape, out_shape, left), Coupling.matched(right_shape, out_shape, right)]]


def conv_general_dilated(eqn: Any, context: Context) -> Couplings:
    """Data: windows along space, everything along features within a group. Kernel: its own output feature."""
    del context
    data, kernel = in_shapes(eqn)[:2]
    return [[_conv_data(eqn, data, kernel), _conv_kernel(eqn, kernel)]]


def _conv_data(eqn: Any, data: tuple[int, ...], kernel: tuple[int, ...]) -> Coupling | None:
    params, out_shape = eqn.params, jx.shape_of(eqn.outvars[0])
    specs = params["dimension_numbers"]
    space = len(data) - 2
    ordered_in = [data[axis] for axis in specs.lhs_spec]
    ordered_out = [out_shape[axis] for axis in specs.out_spec]
    pixels = Coupling.windowed(
        ordered_in[2:],
        ordered_out[2:],
        window=[kernel[axis] for axis in specs.rhs_spec[2:]],
        strides=params["window_strides"],
        padding=params["padding"],
        base_dilation=params["lhs_dilation"] or (1,) * space,
        window_dilation=params["rhs_dilation"] or (1,) * space,
    )
    if pixels is None:
        return None
    groups = params["feature_group_count"]
    blocks = [
        Block(
            tuple(specs.lhs_spec[2 + axis] for axis in block.in_axes),
            tuple(specs.out_spec[2 + axis] for axis in block.out_axes),
            block.relation,
        )
        for block in pixels.blocks
    ]
    if params["batch_group_count"] == 1:
        blocks.append(Block(specs.lhs_spec[:1], specs.out_spec[:1], (Same(ordered_in[0]),)))
    features = Same(groups), All(ordered_in[1] // groups, ordered_out[1] // groups)
    blocks.append(Block(specs.lhs_spec[1:2], specs.out_spec[1:2], features))
    return Coupling.of(data, out_shape, blocks)


def _conv_kernel(eqn: Any, kernel: tuple[int, ...]) -> Coupling:
    specs = eqn.params["dimension_numbers"]
    return Coupling.matched(kernel, jx.shape_of(eqn.outvars[0]), [(specs.rhs_spec[0], specs.out_spec[1])])


def etp(eqn: Any, context: Context) -> Couplings:
    """A weight operation: its index expression says which axes agree."""
    del context
    expression, out_shape = eqn.params["expression"], jx.shape_of(eqn.outvars[0])
    terms = zip(expression.operands, in_shapes(eqn), strict=True)
    return [[by_labels(labels, expression.output, shape, out_shape) for labels, shape in terms]]


def operation(eqn: Any, context: Context) -> Couplings:
    """A weight operation that is more than a product, or the unfolding of its data: what it is made of."""
    return context.analyse(body_of(eqn), context.indices(eqn.invars))


RULES: dict[str, Rule] = {
    "dot_general": dot_general,
    "conv_general_dilated": conv_general_dilated,
    "etp": etp,
    "etp_call": operation,
}
