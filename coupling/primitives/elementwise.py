"""Operations whose output positions depend on the same positions of their operands."""

from __future__ import annotations

import functools
from typing import Any

from ...ir import jaxpr as jx
from .. import Coupling
from .context import Context, Couplings, Rule, in_shapes

ELEMENTWISE = [
    "abs",
    "acos",
    "acosh",
    "add",
    "add_any",
    "and",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "bessel_i0e",
    "bessel_i1e",
    "bessel_j0",
    "bessel_j1",
    "bessel_y0",
    "bessel_y1",
    "cbrt",
    "clamp",
    "complex",
    "conj",
    "convert_element_type",
    "copy",
    "copy_p",
    "cos",
    "cosh",
    "digamma",
    "div",
    "erf",
    "erf_inv",
    "erfc",
    "exp",
    "exp2",
    "expm1",
    "fma",
    "igamma",
    "igamma_grad_a",
    "igammac",
    "imag",
    "integer_pow",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "logistic",
    "max",
    "min",
    "mul",
    "mulhi",
    "name",
    "neg",
    "nextafter",
    "not",
    "one_minus_square",
    "or",
    "polygamma",
    "polynomial",
    "pow",
    "random_gamma",
    "random_gamma_grad",
    "real",
    "reduce_precision",
    "regularized_incomplete_beta",
    "rem",
    "rsqrt",
    "select_n",
    "sharding_constraint",
    "sin",
    "sinh",
    "sqrt",
    "square",
    "sub",
    "tan",
    "tanh",
    "xor",
    "zeta",
]

PAIRWISE = ["device_put", "optimization_barrier"]

NO_DERIVATIVE = [
    "argmax",
    "argmin",
    "axis_index",
    "bitcast_convert_type",
    "ceil",
    "clz",
    "empty2",
    "eq",
    "eq_to",
    "floor",
    "ge",
    "gt",
    "iota",
    "is_finite",
    "le",
    "le_to",
    "lt",
    "lt_to",
    "ne",
    "population_count",
    "random_bits",
    "random_fold_in",
    "random_seed",
    "random_split",
    "random_unwrap",
    "random_wrap",
    "reduce_and",
    "reduce_or",
    "reduce_xor",
    "rng_bit_generator",
    "rng_uniform",
    "round",
    "shift_left",
    "shift_right_arithmetic",
    "shift_right_logical",
    "stop_gradient",
    "threefry2x32",
]


@functools.lru_cache(maxsize=4096)
def broadcasting(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> Coupling:
    """How an operand reaches an element-wise result: trailing axes agree, sizes of one are repeated."""
    if in_shape == out_shape:
        return Coupling.identity(out_shape)
    offset = len(out_shape) - len(in_shape)
    return Coupling.broadcast(in_shape, out_shape, range(offset, len(out_shape)))


def elementwise(eqn: Any, context: Context) -> Couplings:
    """Every output depends position by position on every operand."""
    del context
    out_shape = jx.shape_of(eqn.outvars[0])
    return [[broadcasting(shape, out_shape) for shape in in_shapes(eqn)]]


def pairwise(eqn: Any, context: Context) -> Couplings:
    """Output `k` is operand `k`."""
    del context
    shapes = in_shapes(eqn)
    return [
        [Coupling.identity(shape) if k == position else None for k, shape in enumerate(shapes)]
        for position in range(len(eqn.outvars))
    ]


def no_derivative(eqn: Any, context: Context) -> Couplings:
    """No output has a derivative."""
    del context
    return [[None] * len(eqn.invars) for _ in eqn.outvars]


def select(eqn: Any, context: Context) -> Couplings:
    """Element by element; but what is picked only where it is no number, as in `jnp.heaviside`, has no derivative."""
    (row,) = elementwise(eqn, context)
    which, *cases = eqn.invars
    maker = context.constants.maker(which) if context.constants is not None else None
    if maker is None or maker.primitive.name != "ne" or maker.invars[0] is not maker.invars[1] or len(cases) != 2:
        return [row]
    return [[*row[:2], None if cases[1] is maker.invars[0] else row[2]]]


def sign(eqn: Any, context: Context) -> Couplings:
    """The sign of a real number has no derivative; that of a complex one, its direction, has."""
    return elementwise(eqn, context) if jx.type_of(eqn.outvars[0]).is_complex else no_derivative(eqn, context)


RULES: dict[str, Rule] = {
    "sign": sign,
    **dict.fromkeys(ELEMENTWISE, elementwise),
    "select_n": select,
    **dict.fromkeys(PAIRWISE, pairwise),
    **dict.fromkeys(NO_DERIVATIVE, no_derivative),
}
