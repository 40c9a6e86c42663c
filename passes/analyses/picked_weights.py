"""Weights of ETP operations that data pick from a stack of weights."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ...ir import jaxpr as jx
from ...ir.operations.call import WEIGHT_OPERATIONS, operation_call

PICKS = ("gather", "dynamic_slice")
ARRANGES = ("broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose")


def picked_weights(body: Any, of_params: Container[Any]) -> dict[int, Any]:
    """ETP operations, by identity, none of whose operands is made of parameters alone, and where data pick a weight.

    That is the equation of the look-up: of `etir.matmul(x, W[i])` with `i` from an input, `W[i]`. Such an operation
    means the weight that is picked: the look-up is the site, and the product with what it gives is none.
    """
    producers = jx.Producers(body)
    found: dict[int, Any] = {}
    for eqn in jx.equations(body):
        if eqn.primitive.name not in WEIGHT_OPERATIONS:
            continue
        operands = eqn.invars[1:] if eqn.primitive.name == operation_call.name else eqn.invars
        if any(not jx.is_literal(atom) and atom in of_params for atom in operands):
            continue
        looks = [_look_up(atom, producers, of_params) for atom in operands]
        found.update((id(eqn), look) for look in looks if look is not None)
    return found


def _look_up(atom: Any, producers: jx.Producers, of_params: Container[Any]) -> Any | None:
    """The equation that picks an operand from what is made of parameters alone."""
    made = producers.producer(atom)
    while made is not None and made.primitive.name in ARRANGES:
        made = producers.producer(made.invars[0])
    if made is None or made.primitive.name not in PICKS or jx.is_literal(made.invars[0]):
        return None
    return made if made.invars[0] in of_params else None
