"""Programs each of whose results is one known number throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax

from ..ir import jaxpr as jx

Filled: TypeAlias = Sequence[tuple[jax.ShapeDtypeStruct, Any]]
"""Of each result its kind and the number that it is full of."""


def filled_with(body: Any) -> Filled | None:
    """What the results of a closed jaxpr are full of; None where it is not plain to see of each."""
    producers, found = jx.Producers(body), list[tuple[jax.ShapeDtypeStruct, Any]]()
    atom: Any
    for atom in jx.outvars(body):
        eqn = producers.producer(atom)
        if eqn is not None and eqn.primitive.name == "optimization_barrier":
            eqn = producers.producer(eqn.invars[eqn.outvars.index(atom)])
        if eqn is None or eqn.primitive.name != "broadcast_in_dim" or not jx.is_literal(eqn.invars[0]):
            return None
        found.append((jx.struct_of(atom), jx.read({}, eqn.invars[0])))
    return found
