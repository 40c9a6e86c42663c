"""How XLA joins operations, by the names of primitives. What is in no set here ends a kernel, and begins one."""

SAME = frozenset({
    "reshape", "squeeze", "expand_dims", "stop_gradient", "copy", "copy_p", "optimization_barrier", "device_put",
    "sharding_constraint", "pvary", "pcast",
})  # fmt: skip
"""Operations that leave an array where it is."""

FUSED = frozenset({
    "add", "sub", "mul", "div", "neg", "abs", "max", "min", "sign", "floor", "ceil", "round", "eq", "ne", "lt", "le",
    "gt", "ge", "and", "or", "xor", "not", "select_n", "clamp", "integer_pow", "square", "add_any",
    "convert_element_type", "broadcast_in_dim", "iota", "transpose", "rev", "slice", "dynamic_slice", "concatenate",
    "pad", "is_finite", "rem", "real", "imag", "conj", "complex", "shift_left", "shift_right_logical",
    "shift_right_arithmetic", "nextafter", "bitcast_convert_type", "population_count", "clz", "one_minus_square",
    "split", "reduce_precision",
})  # fmt: skip
"""Operations that are computed where they are read."""

SERIES = frozenset({
    "exp", "exp2", "expm1", "log", "log1p", "tanh", "sin", "cos", "tan", "asin", "acos", "atan", "atan2", "sinh",
    "cosh", "logistic", "sqrt", "rsqrt", "cbrt", "pow", "erf", "erfc", "erf_inv", "lgamma", "digamma", "asinh", "acosh",
    "atanh", "random_bits", "random_wrap", "random_unwrap", "threefry2x32",
})  # fmt: skip
"""The same, at the cost of many operations: computed once, however often they are read."""

NOTHING = frozenset({
    "broadcast_in_dim", "iota", "slice", "dynamic_slice", "concatenate", "convert_element_type", "split"
})  # fmt: skip
"""Of the fused ones, those that compute nothing."""

SLICES = frozenset({"slice", "dynamic_slice"})
"""Of the fused ones, those that read a part of their operand."""

INLINED = frozenset({"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"})
"""Operations with a derivative of their own, which in a traced program are their body."""
