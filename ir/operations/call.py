"""The use of a weight operation as one equation, and its two halves as traces see them.

`etp_call` is the operation where the user calls it. What marks sites writes it as an `etp` equation on the result of an
*unfolding*, an `etp_call` of the data alone, so that whatever reads sites sees one product; and what runs a step turns
that pair into the operation again, so that the unfolded data are computed only where a trace reads them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from .. import jaxpr as jx
from ..expression import LABELS, Expression
from ..mesh_types import said_of, struct_of
from .base import Mapped, Struct, WeightOperation

operation_call = core.Primitive("etp_call")

WEIGHT_OPERATIONS = frozenset({"etp", operation_call.name})
"""The primitives that are uses of weights which are to be traced."""


class Kind(NamedTuple):
    """The shape and the element type of the weight that an unfolding is for."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def struct(self) -> Struct:
        """For tracing."""
        return jax.ShapeDtypeStruct(self.shape, self.dtype)


def call_operation(operation: WeightOperation, x: Any, w: Any) -> jax.Array:
    """`operation.apply(x, w)` as one equation."""
    return operation_call.bind(*together(x, w), operation=operation, weight=None)


def unfolded(operation: WeightOperation, x: Any, w: Any) -> jax.Array:
    """`operation.unfold(x, w)` as one equation."""
    return operation_call.bind(x, operation=operation, weight=Kind(tuple(w.shape), jnp.dtype(w.dtype)))


def together(x: Any, w: Any) -> tuple[jax.Array, jax.Array]:
    """Data and weight as arrays of one element type; integers, which are indices, stay what they are."""
    x, w = jnp.asarray(x), jnp.asarray(w)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return x, w
    dtype = jnp.result_type(x, w)
    return x.astype(dtype), w.astype(dtype)


def function_of(operation: WeightOperation, weight: Kind | None) -> Any:
    """What an `etp_call` with these parameters computes."""
    return operation.apply if weight is None else lambda x: operation.unfold(x, weight.struct)


def body_of(eqn: Any) -> Any:
    """The jaxpr of what an `etp_call` computes."""
    return jx.trace(function_of(eqn.params["operation"], eqn.params["weight"]), *map(jx.struct_of, eqn.invars))[0]


def is_unfolding(eqn: Any) -> bool:
    """Whether an equation is the unfolding of an operation's data."""
    return eqn.primitive.name == operation_call.name and eqn.params["weight"] is not None


class Source(NamedTuple):
    """Where the unfolded data of an `etp` equation come from."""

    data: Any
    """The variable, or literal, that was unfolded."""
    operation: WeightOperation
    weight: Struct


def source_of(eqn: Any, producers: jx.Producers) -> Source | None:
    """The source of an `etp` equation that is the whole of a weight operation; None for every other equation."""
    if eqn.primitive.name != "etp" or len(eqn.invars) != 2:
        return None
    made = producers.producer(eqn.invars[0])
    if made is None or not is_unfolding(made):
        return None
    operation, weight = made.params["operation"], made.params["weight"].struct
    own = operation.expression(jx.struct_of(made.invars[0]), weight)
    same = _relabelled(own) == _relabelled(eqn.params["expression"])
    whole = (tuple(weight.shape), weight.dtype) == (jx.shape_of(eqn.invars[1]), eqn.invars[1].aval.dtype)
    return Source(made.invars[0], operation, weight) if same and whole else None


def _relabelled(expression: Expression) -> Expression:
    of = dict(zip(dict.fromkeys("".join(expression.operands)), LABELS, strict=False))
    terms = ("".join(of[label] for label in term) for term in (*expression.operands, expression.output))
    *operands, output = terms
    return Expression(operands=tuple(operands), output=output)


def with_operations(body: Any) -> Any:
    """`body` with weight operations in the place of products of what was unfolded for them."""
    producers = jx.Producers(body)
    sources = {id(eqn): found for eqn in jx.equations(body) if (found := source_of(eqn, producers)) is not None}
    if not sources:
        return body
    values: dict[Any, Any] = {}

    def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
        if is_unfolding(eqn) and not jx.is_literal(eqn.invars[0]):
            values[eqn.invars[0]] = operands[0]
        found = sources.get(id(eqn))
        if found is None:
            return None
        data = found.data.val if jx.is_literal(found.data) else values[found.data]
        with jx.made_by(eqn):
            return [call_operation(found.operation, data, operands[1]).astype(eqn.outvars[0].aval.dtype)]

    return jx.retrace(body, hook)


def _implementation(*operands: Any, operation: WeightOperation, weight: Kind | None) -> Any:
    return function_of(operation, weight)(*operands)


def _abstract(*operands: Any, operation: WeightOperation, weight: Kind | None) -> Any:
    found = jax.eval_shape(function_of(operation, weight), *map(struct_of, operands))
    return operands[0].update(shape=found.shape, dtype=found.dtype, weak_type=False, **said_of(found))


def _jvp(primals: Any, tangents: Any, *, operation: WeightOperation, weight: Kind | None) -> tuple[Any, Any]:
    """The derivative of the function itself: the operation has no derivative rule of its own."""
    live = [k for k, tangent in enumerate(tangents) if not isinstance(tangent, ad.Zero)]

    def of_live(*given: Any) -> Any:
        operands = list(primals)
        for k, x in zip(live, given, strict=True):
            operands[k] = x
        return function_of(operation, weight)(*operands)

    return jax.jvp(of_live, [primals[k] for k in live], [tangents[k] for k in live])


def _transpose(cotangent: Any, *operands: Any, operation: WeightOperation, weight: Kind | None) -> list[Any]:
    linear = [ad.is_undefined_primal(x) for x in operands]
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(x.aval) if on else None for x, on in zip(operands, linear, strict=True)]
    index = linear.index(True)

    def partial(x: Any) -> Any:
        return function_of(operation, weight)(*(x if k == index else v for k, v in enumerate(operands)))

    (result,) = jax.linear_transpose(partial, struct_of(operands[index].aval))(cotangent)
    return [result if on else None for on in linear]


def _batch(operands: Any, axes: Any, *, operation: WeightOperation, weight: Kind | None) -> tuple[Any, int]:
    mapped = [axis is not None for axis in axes]
    moved = [jnp.moveaxis(x, axis, 0) if on else x for x, axis, on in zip(operands, axes, mapped, strict=True)]
    of_all = Mapped(operation, (mapped[0], weight is None and mapped[1]))
    return operation_call.bind(*moved, operation=of_all, weight=weight), 0


operation_call.def_impl(jax.jit(_implementation, static_argnames=("operation", "weight")))
operation_call.def_abstract_eval(_abstract)
ad.primitive_jvps[operation_call] = _jvp
ad.primitive_transposes[operation_call] = _transpose
batching.primitive_batchers[operation_call] = _batch
mlir.register_lowering(operation_call, mlir.lower_fun(_implementation, multiple_results=False))
