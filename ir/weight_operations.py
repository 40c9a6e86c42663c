"""The weight operations: ordinary array functions whose uses the compiler can recognise.

Each is one JAX primitive, `etp`, that carries its index expression; everything else (derivatives, batching, lowering,
the traces of every rule) follows from the expression. A new one is a function here that calls `apply_expression`, with
ordinary JAX before and after it for what is no product: rounding, masks, reshapes, padding. Which operand is the weight
is not said here: it is the one that depends on parameters alone.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from .diagnostics import error
from .expression import LABELS, Expression
from .loc import calling_line
from .mesh_types import said_of, says_more, struct_of
from .product import product_of

etp = core.Primitive("etp")


def matmul(x: Any, w: Any, b: Any | None = None) -> jax.Array:
    """`x @ w + b` through an ETP operation: its weight gets an eligibility trace.

    The weight may stand on either side: it is the operand that depends on parameters alone, the other one is data.
    Shapes follow `jnp.matmul` with a weight of one or two axes: `[..., i] @ [i, j] -> [..., j]`, `[i, j] @ [j] ->
    [i]`. `b`, a parameter too, is added by `etir.bias`. Raises EtirError where both operands have three or more axes.
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    if min(x.ndim, w.ndim) == 0 or (x.ndim > 2 and w.ndim > 2):
        raise error(
            "matmul-rank",
            f"etir.matmul got operands of {x.ndim} and {w.ndim} axes",
            loc=calling_line(),
            help="spell the product with etir.einsum, or use etir.scale for a scalar",
        )
    y = apply_expression("dot", _matmul_expression(x.ndim, w.ndim), x, w)
    return y if b is None else bias(y, b)


def _matmul_expression(left: int, right: int) -> Expression:
    first = "i" if left == 1 else "ki" if right > 2 else "...i"
    second = "i" if right == 1 else "ij" if right == 2 else "...ij"
    output = ("..." if "..." in first + second else "") + (first + second).replace("i", "").replace("...", "")
    return Expression.of(f"{first},{second}->{output}", (left, right))


def einsum(expression: str, x: Any, w: Any) -> jax.Array:
    """`jnp.einsum(expression, x, w)` through an ETP operation, with an explicit result: `"...i,ij->...j"`.

    The weight is the operand that depends on parameters alone; no operand may repeat a label. Raises EtirError where
    the expression does not fit the operands. An axis of one operand alone is summed before the operation.
    """
    x, w = jnp.asarray(x), jnp.asarray(w)
    whole = Expression.of(expression, (x.ndim, w.ndim))
    kept = set(whole.output) | set(whole.operands[0]) & set(whole.operands[1])
    arrays = [_summed(array, term, kept) for array, term in zip((x, w), whole.operands, strict=True)]
    terms = tuple("".join(label for label in term if label in kept) for term in whole.operands)
    return apply_expression("einsum", Expression(operands=terms, output=whole.output), *arrays)


def _summed(array: jax.Array, term: str, kept: set[str]) -> jax.Array:
    """The sum over the axes whose labels stand in this operand alone."""
    axes = tuple(axis for axis, label in enumerate(term) if label not in kept)
    return jnp.sum(array, axes, dtype=array.dtype) if axes else array


def scale(x: Any, w: Any) -> jax.Array:
    """`x * w`, element by element with NumPy's broadcasting, through an ETP operation."""
    x, w = jnp.asarray(x), jnp.asarray(w)
    shape = _broadcast_shape("scale", x, w)
    labels = LABELS[: len(shape)]
    operands = [array if _is_suffix(array.shape, shape) else jnp.broadcast_to(array, shape) for array in (x, w)]
    if all(array.shape != shape for array in operands):
        operands[1] = jnp.broadcast_to(w, shape)
    terms = tuple(labels[len(shape) - array.ndim :] for array in operands)
    return apply_expression("scale", Expression(operands=terms, output=labels), *operands)


def bias(x: Any, b: Any) -> jax.Array:
    """`x + b` with NumPy's broadcasting; `b`, the parameter, goes through an ETP operation."""
    x, b = jnp.asarray(x), jnp.asarray(b)
    shape = _broadcast_shape("bias", x, b)
    return x + identity(jnp.broadcast_to(b, shape).astype(jnp.promote_types(x.dtype, b.dtype)))


def identity(w: Any) -> jax.Array:
    """`w` itself, as an ETP operation without data: whatever follows may use it element by element."""
    w = jnp.asarray(w)
    labels = LABELS[: w.ndim]
    return apply_expression("identity", Expression(operands=(labels,), output=labels), w)


def _broadcast_shape(name: str, *operands: jax.Array) -> tuple[int, ...]:
    shapes = [tuple(array.shape) for array in operands]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        pass
    message = f"etir.{name} of shapes {' and '.join(map(str, shapes))}, which do not broadcast together"
    raise error("operand-shape", message, loc=calling_line())


def _is_suffix(shape: tuple[int, ...], whole: tuple[int, ...]) -> bool:
    return shape == whole[len(whole) - len(shape) :]


def apply_expression(
    name: str, expression: Expression, *operands: jax.Array, precision: Any = None, preferred: Any = None
) -> jax.Array:
    """The ETP operation `name` with this index expression: what `matmul` and the others are made of.

    `precision` and `preferred` (element type of the result) are `jax.lax.dot_general`'s.
    """
    dtype = jnp.result_type(*operands)
    _check_sizes(name, expression, operands)
    operands = tuple(a.astype(dtype) for a in operands)
    return etp.bind(*operands, name=name, expression=expression, precision=precision, preferred=preferred)


def _check_sizes(name: str, expression: Expression, operands: tuple[jax.Array, ...]) -> None:
    sizes: dict[str, int] = {}
    for term, array in zip(expression.operands, operands, strict=True):
        for label, size in zip(term, array.shape, strict=True):
            if sizes.setdefault(label, size) != size:
                shapes = " and ".join(str(tuple(a.shape)) for a in operands)
                raise error(
                    "operand-shape",
                    f"etir.{'matmul' if name == 'dot' else name} of shapes {shapes}: axis '{label}' of '{expression}' "
                    f"has size {sizes[label]} in one operand and {size} in the other",
                    loc=calling_line(),
                )


def evaluate_expression(
    expression: Expression, *operands: Any, precision: Any = None, preferred: Any = None
) -> jax.Array:
    """The value of an index expression on arrays; the implementation of every ETP operation."""
    if len(operands) == 1 and expression.operands[0] == expression.output:
        return jnp.asarray(operands[0])
    if _is_elementwise(expression) and len(operands) == 2:
        return jnp.multiply(*operands)
    if len(operands) == 2:
        return product_of(str(expression), *operands, precision=precision, preferred=preferred)
    return jnp.einsum(str(expression), *operands, precision=precision, preferred_element_type=preferred)


def _is_elementwise(expression: Expression) -> bool:
    """Whether trailing-axis broadcasting alone aligns the operands with the output."""
    output = expression.output
    return all(output.endswith(term) for term in expression.operands) and output in expression.operands


def _implementation(*operands: Any, name: str, expression: Expression, precision: Any, preferred: Any) -> jax.Array:
    del name
    return evaluate_expression(expression, *operands, precision=precision, preferred=preferred)


def _abstract(*operands: Any, name: str, expression: Expression, precision: Any, preferred: Any) -> Any:
    """The type of the result; on a mesh, what JAX says of the operations that it is made of."""
    del name
    dtype = preferred or operands[0].dtype
    if any(says_more(aval) for aval in operands):

        def evaluate(*arrays: Any) -> jax.Array:
            return evaluate_expression(expression, *arrays, precision=precision, preferred=preferred)

        found = jax.eval_shape(evaluate, *map(struct_of, operands))
        return operands[0].update(shape=found.shape, dtype=dtype, weak_type=False, **said_of(found))
    sizes = {
        label: size
        for term, aval in zip(expression.operands, operands, strict=True)
        for label, size in zip(term, aval.shape, strict=True)
    }
    shape = tuple(sizes[label] for label in expression.output)
    return operands[0].update(shape=shape, dtype=dtype, weak_type=False)


def _jvp(primals: Any, tangents: Any, **params: Any) -> tuple[Any, Any]:
    out = etp.bind(*primals, **params)
    terms = [
        etp.bind(*(tangent if k == i else primal for k, primal in enumerate(primals)), **params)
        for i, tangent in enumerate(tangents)
        if not isinstance(tangent, ad.Zero)
    ]
    return out, sum(terms[1:], terms[0])


def _transpose(cotangent: Any, *operands: Any, **params: Any) -> list[Any]:
    linear = [ad.is_undefined_primal(x) for x in operands]
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(x.aval) if on else None for x, on in zip(operands, linear, strict=True)]
    index = linear.index(True)
    direct = _transposed(cotangent, index, operands, **params)
    if direct is not None:
        return [direct if on else None for on in linear]

    def partial(x: Any) -> jax.Array:
        return _implementation(*(x if i == index else v for i, v in enumerate(operands)), **params)

    (result,) = jax.linear_transpose(partial, struct_of(operands[index].aval))(cotangent)
    return [result if on else None for on in linear]


def _transposed(
    cotangent: Any, index: int, operands: Any, name: str, expression: Expression, precision: Any, preferred: Any
) -> Any:
    """The transpose by one of two operands as a product of its own; None where JAX had better take it."""
    del name
    kind, terms = operands[index].aval, expression.operands
    if len(operands) != 2 or _is_elementwise(expression) or precision is not None or says_more(kind):
        return None
    other, kinds = (
        operands[1 - index],
        {kind.dtype, cotangent.dtype, operands[1 - index].dtype, preferred or kind.dtype},
    )
    if (
        len(kinds) > 1
        or says_more(jax.typeof(other))
        or not set(terms[index]) <= {*expression.output, *terms[1 - index]}
    ):
        return None
    return product_of(f"{expression.output},{terms[1 - index]}->{terms[index]}", cotangent, other)


def _batch(operands: Any, axes: Any, *, expression: Expression, **params: Any) -> tuple[Any, int]:
    mapped = [axis is not None for axis in axes]
    moved = [jnp.moveaxis(x, axis, 0) if on else x for x, axis, on in zip(operands, axes, mapped, strict=True)]
    batched = expression.with_leading(expression.fresh_label(), mapped)
    return etp.bind(*moved, expression=batched, **params), 0


etp.def_impl(jax.jit(_implementation, static_argnames=("name", "expression", "precision", "preferred")))
etp.def_abstract_eval(_abstract)
ad.primitive_jvps[etp] = _jvp
ad.primitive_transposes[etp] = _transpose
batching.primitive_batchers[etp] = _batch
mlir.register_lowering(etp, mlir.lower_fun(_implementation, multiple_results=False))
