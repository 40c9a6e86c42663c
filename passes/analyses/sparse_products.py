"""Products of JAX's own sparse matrices in a jaxpr, as products that may be sites."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ...coupling.primitives import Constants
from ...ir import jaxpr as jx
from ...ir.sparse import Pattern, Product, expanded, sparse_product

NAMES = ("bcoo_dot_general", "bcsr_dot_general")
"""The operations: a sparse matrix on the left, whose first operand is its data and whose last one is an array."""


def sparse_pattern(eqn: Any, constants: Constants) -> Pattern | None:
    """Where the entries of the sparse matrix stand; None for what is no product of a matrix with a constant pattern."""
    if eqn.primitive.name not in NAMES:
        return None
    (contract, batch), shape = eqn.params["dimension_numbers"], eqn.params["lhs_spinfo"].shape
    indices = [constants.get(atom) for atom in eqn.invars[1:-1]]
    plain = len(jx.shape_of(eqn.invars[0])) == 1 and len(shape) == 2 and not any(map(len, batch))
    if not plain or len(contract[0]) != 1 or any(index is None for index in indices):
        return None
    coordinates: Any = indices[0] if len(indices) == 1 else expanded(*indices, rows=shape[0])
    (read,) = contract[0]
    return Pattern(coordinates[:, read], coordinates[:, 1 - read], shape[1 - read])


def evaluated(product: Product, eqn: Any, pattern: Pattern, data: Any, array: Any) -> Any:
    """The result of such an equation by a product that is a site."""
    ((_, (axis,)), _) = eqn.params["dimension_numbers"]
    y = sparse_product(product, jnp.moveaxis(array, axis, -1), data, pattern)
    return jnp.moveaxis(y, -1, 0).astype(eqn.outvars[0].aval.dtype)
