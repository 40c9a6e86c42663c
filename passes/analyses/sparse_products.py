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
    """Where the entries of the sparse matrix stand; None for what is no product of a matrix with a constant pattern.

    Under `vmap` of the array the matrix has leading axes of size one, which stand for the array's own.
    """
    if eqn.primitive.name not in NAMES:
        return None
    (contract, batch), shape = eqn.params["dimension_numbers"], eqn.params["lhs_spinfo"].shape
    lead, indices = len(batch[0]), [constants.get(atom) for atom in eqn.invars[1:-1]]
    one = all(size == 1 for size in jx.shape_of(eqn.invars[0])[:-1]) and sorted(batch[0]) == list(range(lead))
    plain = one and len(jx.shape_of(eqn.invars[0])) == 1 + lead and len(shape) == 2 + lead
    if not plain or len(contract[0]) != 1 or any(index is None for index in indices):
        return None
    own: list[Any] = [index[(0,) * lead] for index in indices if index is not None]
    coordinates: Any = own[0] if len(own) == 1 else expanded(*own, rows=shape[lead])
    read = contract[0][0] - lead
    return Pattern(coordinates[:, read], coordinates[:, 1 - read], shape[lead + 1 - read])


def evaluated(product: Product, eqn: Any, pattern: Pattern, data: Any, array: Any) -> Any:
    """The result of such an equation by a product that is a site."""
    ((_, contract), (order, batch)) = eqn.params["dimension_numbers"]
    lead = [batch[order.index(axis)] for axis in range(len(batch))]
    array = jnp.moveaxis(array, (*lead, *contract), (*range(len(lead)), -1))
    y = sparse_product(product, array, data.reshape(-1), pattern)
    return jnp.moveaxis(y, -1, len(lead)).astype(eqn.outvars[0].aval.dtype)
