"""braintrace's operations as ours: its `etp_*` primitives, recognised by name, are sites.

Each is the product that its implementation computes, written with a weight operation of ours: `weight_fn` and `bias_fn`
run before it, so they are part of the weights' prologue and exact. What is not listed (a primitive that its user has
registered) stays what it is, an operation of unknown meaning, and is labelled so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...ir import jaxpr as jx
from ...ir.operations.call import call_operation
from ...ir.operations.convolution import CONVOLUTION, convolve
from ...ir.operations.lookup import Lookup, from_the_end
from ...ir.sparse import Pattern, sparse_product
from ...ir.weight_operations import apply_expression, bias, einsum, identity, matmul

Params = Mapping[str, Any]
Meaning = Callable[..., Any]
"""From an equation's operands and its parameters, as a mapping, to its one result; None where it is not ours to say."""


def _through(function: Callable[[Any], Any] | None, weight: Any) -> Any:
    """A weight as one of braintrace's hooks transforms it."""
    return weight if function is None else function(weight)


def _with_bias(y: Any, rest: tuple[Any, ...], params: Params) -> Any:
    return bias(y, _through(params["bias_fn"], rest[0])) if rest else y


def _dense(x: Any, w: Any, *rest: Any, params: Params) -> Any:
    return _with_bias(matmul(x, _through(params["weight_fn"], w)), rest, params)


def _einsum(x: Any, w: Any, *, params: Params) -> Any:
    return einsum(params["equation"], x, _through(params["weight_fn"], w))


def _grouped(x: Any, w: Any, *rest: Any, params: Params) -> Any:
    return _with_bias(einsum("...gk,gkn->...gn", x, _through(params["weight_fn"], w)), rest, params)


def _element_wise(w: Any, *, params: Params) -> Any:
    return identity(_through(params["weight_fn"], w))


def _low_rank(x: Any, b: Any, a: Any, *rest: Any, params: Params) -> Any:
    product = matmul(matmul(x, _through(params["b_fn"], b)), _through(params["a_fn"], a))
    return _with_bias(params["alpha"] * product, rest, params)


def _embedding(ids: Any, table: Any, *, params: Params) -> Any:
    """`jnp.take(table, ids, 0)`: negative ids count from the end, and one beyond the table gives NaN."""
    table = _through(params["weight_fn"], table)
    return call_operation(Lookup(name="embedding", fills=True), from_the_end(ids, table.shape[0]), table)


def _convolution(x: Any, w: Any, *rest: Any, params: Params) -> Any:
    def run(x: Any, w: Any) -> Any:
        named = {name: params[name] for name in ("padding", "lhs_dilation", "rhs_dilation", "dimension_numbers")}
        counts = {name: params[name] for name in ("feature_group_count", "batch_group_count")}
        return jax.lax.conv_general_dilated(x, w, params["strides"], **named, **counts)

    if params["batch_group_count"] != 1:
        return None
    w = _through(params["kernel_fn"], w)
    closed, _ = jx.trace(run, x, w)
    (eqn,) = (eqn for eqn in jx.equations(closed) if eqn.primitive.name == CONVOLUTION)
    y = convolve(eqn.params, x, w, call_operation, "conv")
    if not rest:
        return y
    added, channels = _through(params["bias_fn"], rest[0]), eqn.params["dimension_numbers"].out_spec[1]
    return bias(y, added.reshape(-1, *(1,) * (y.ndim - 1 - channels)) if added.ndim == 1 else added)


def _sparse(x: Any, w: Any, *rest: Any, params: Params) -> Any:
    held = params["sparse_mat"]
    found = _entries(getattr(held, "mat", held))
    if found is None:
        return None
    pattern, index = found
    w = _through(params["weight_fn"], w)
    w = w if index is None else w[index]
    product = partial(apply_expression, "sparse_matmul")
    return _with_bias(sparse_product(product, x, w, pattern), rest, params)


def _entries(matrix: Any) -> tuple[Pattern, np.ndarray | None] | None:
    """Where the entries of a sparse matrix stand, and of each the place of its weight, None where that is its own.

    The matrix is asked where it puts numbers that count its weights; None where they are too many to count in its
    element type, or where it does not say.
    """
    data = matrix.data
    if not hasattr(matrix, "tocoo") or data.ndim != 1 or data.size > 2 ** jnp.finfo(data.dtype).nmant:
        return None
    with jax.ensure_compile_time_eval():
        triples = matrix.with_data(jnp.arange(data.size, dtype=data.dtype)).tocoo()
        source, target, index = (np.asarray(a) for a in (triples.row, triples.col, triples.data))
    index = index.astype(np.int32)
    own = index.size == data.size and bool(np.all(index == np.arange(index.size)))
    return Pattern(source, target, matrix.shape[1]), None if own else index


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        "etp_mm": _dense,
        "etp_mv": _dense,
        "etp_einsum": _einsum,
        "etp_gmm": _grouped,
        "etp_gmv": _grouped,
        "etp_elemwise": _element_wise,
        "etp_lora_mm": _low_rank,
        "etp_lora_mv": _low_rank,
        "etp_emb": _embedding,
        "etp_emb_v": _embedding,
        "etp_conv": _convolution,
        "etp_sp_mm": _sparse,
        "etp_sp_mv": _sparse,
    }
)
"""What braintrace's primitives compute, by their names."""


_CONSTRUCTS = frozenset({"cond", "scan", "while"})
"""What is bodies alone; the body of a custom derivative has rules beside it, which would not follow."""


def adopted(closed: Any) -> Any:
    """A closed jaxpr in which operations of braintrace are ours, those in the bodies of loops and branches too.

    The very jaxpr where it has none.
    """
    if not _holds_any(closed):
        return closed
    return jx.retrace(closed, _adopt)


def _holds_any(body: Any) -> bool:
    return any(eqn.primitive.name in MEANINGS or any(map(_holds_any, jx.sub_jaxprs(eqn))) for eqn in jx.equations(body))


def _adopt(eqn: Any, operands: list[Any]) -> list[Any] | None:
    meaning = MEANINGS.get(eqn.primitive.name)
    with jx.made_by(eqn):
        if meaning is not None:
            y = meaning(*operands, params=eqn.params)
            return None if y is None else [y.astype(eqn.outvars[0].aval.dtype)]
        if eqn.primitive.name not in _CONSTRUCTS or not any(map(_holds_any, jx.sub_jaxprs(eqn))):
            return None
        return jx.bind(jx.with_bodies(eqn, adopted), *operands)
