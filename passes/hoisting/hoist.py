"""A step whose branches and loops use weights, written as one in which products stand outside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, TypeAlias

from ...ir import jaxpr as jx
from ..canonicalise import without_calls
from .branches import Branches
from .loops import Loop
from .own_rules import OWN_RULES, OwnRule
from .uses import Reached, Wanted, made_of_params, of_operands

Construct: TypeAlias = Branches | Loop | OwnRule

CONSTRUCTS: dict[str, type[Construct]] = {
    "cond": Branches,
    "scan": Loop,
    **dict.fromkeys(OWN_RULES, OwnRule),
}


def hoisted(body: Any, params: int, wanted: Wanted, frozen: Collection[int] = ()) -> Any:
    """A step's jaxpr with the products of its `cond`s, `scan`s and derivative rules outside them, if it has any.

    It computes what it computed before, and has the derivative that it had. Taken are weight operations, and of other
    products those of which `wanted` says so; the parameters at the `frozen` places are constants.
    """
    made = [(() if k in frozen else (k,)) if k < params else None for k in range(len(jx.argument_vars(body)))]
    return _entered(body, made, wanted)


def _entered(body: Any, arguments: Sequence[Reached], wanted: Wanted) -> Any:
    """A jaxpr whose arguments are made of these parameters, with the products of its own constructs outside them."""
    if not any(eqn.primitive.name in CONSTRUCTS or jx.callee(eqn) is not None for eqn in jx.equations(body)):
        return body
    flat = without_calls(body)
    known = made_of_params(flat, arguments)
    changes: dict[int, jx.Change] = {}
    for eqn in jx.equations(flat):
        kind = CONSTRUCTS.get(eqn.primitive.name)
        operands = of_operands(eqn.invars, known)
        if kind is not None and any(operands):
            construct = kind(eqn, operands, wanted, _entered)
            if construct.uses_weights:
                changes[id(eqn)] = construct.change
    return jx.replaced(flat, changes)
