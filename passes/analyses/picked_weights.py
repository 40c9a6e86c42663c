"""Weights of ETP operations that data pick from a stack of weights, or scale."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from ...ir import jaxpr as jx
from ...ir.operations.call import WEIGHT_OPERATIONS, operation_call

PICKS = ("gather", "dynamic_slice")
SCALES = ("mul", "div")
ARRANGES = ("broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "reshape", "squeeze", "transpose")


def picked_weights(body: Any, of_params: Container[Any]) -> dict[int, Any]:
    """ETP operations, by identity, none of whose operands is made of parameters alone, and where data make a weight.

    That is an equation, linear in the weight: of `etir.matmul(x, W[i])` with `i` from an input the look-up `W[i]`, of
    `etir.matmul(x, W / s)` with `s` from a state the quotient. Such an operation means that weight: the equation is the
    site, and the product with what it gives is none.
    """
    producers = jx.Producers(body)
    found: dict[int, Any] = {}
    for eqn in jx.equations(body):
        if eqn.primitive.name not in WEIGHT_OPERATIONS:
            continue
        operands = eqn.invars[1:] if eqn.primitive.name == operation_call.name else eqn.invars
        if any(not jx.is_literal(atom) and atom in of_params for atom in operands):
            continue
        looks = [_made(atom, producers, of_params) for atom in operands]
        found.update((id(eqn), look) for look in looks if look is not None)
    return found


def weight_of(eqn: Any, of_params: Container[Any]) -> Any | None:
    """What an equation picks from, or scales, that is made of parameters alone; None where it does neither."""
    places = eqn.invars if eqn.primitive.name == "mul" else eqn.invars[:1]
    known = [atom for atom in places if not jx.is_literal(atom) and atom in of_params]
    return known[0] if eqn.primitive.name in (*PICKS, *SCALES) and len(known) == 1 else None


def _made(atom: Any, producers: jx.Producers, of_params: Container[Any]) -> Any | None:
    """The equation that makes an operand of what is made of parameters alone, and of data."""
    made = producers.producer(atom)
    while made is not None and made.primitive.name in ARRANGES:
        made = producers.producer(made.invars[0])
    return made if made is not None and weight_of(made, of_params) is not None else None
