"""The weights prologue: the part of a step that depends on parameters alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ...ir import jaxpr as jx
from ...ir.dataflow import Prologue
from ...ir.operations.call import WEIGHT_OPERATIONS

STOPPED = "stop_gradient"
"""The operation by which a user says that no credit is meant to pass."""


def find_prologue(body: Any, params: int, frozen: Collection[int] = ()) -> Prologue:
    """The prologue of a canonical jaxpr whose first `params` arguments are the parameters, some of them frozen.

    An ETP operation is where a weight meets the step, so it is no part of it; but the product of two functions of
    parameters is.
    """
    known: dict[Any, tuple[int, ...]] = dict.fromkeys(jx.all_invars(body)[: len(jx.consts_of(body))], ())
    known |= {var: (k,) for k, var in enumerate(jx.argument_vars(body)[:params])}
    constant = {var for var, reached in known.items() if reached and set(reached) <= set(frozen)}
    inside: set[int] = set()
    for k, eqn in enumerate(jx.equations(body)):
        operands = [atom for atom in eqn.invars if not jx.is_literal(atom)]
        if eqn.effects or not all(atom in known for atom in operands):
            continue
        together = len(operands) > 1 and all(known[atom] for atom in operands)
        if eqn.primitive.name in WEIGHT_OPERATIONS and not together:
            continue
        reached = tuple(sorted({k for atom in operands for k in known[atom]}))
        known.update(dict.fromkeys(eqn.outvars, reached))
        inside.add(k)
        if eqn.primitive.name == STOPPED or all(atom in constant for atom in operands if known[atom]):
            constant.update(eqn.outvars)
    used = _used_outside(body, inside)
    params_of = {var: reached for var, reached in known.items() if reached}
    return Prologue(
        params_of=params_of,
        equations=frozenset(k for k in inside if any(v in params_of for v in jx.equations(body)[k].outvars)),
        frontier=tuple(var for var in params_of if var in used),
        frozen=frozenset(var for var in params_of if var in constant),
    )


def _used_outside(body: Any, inside: set[int]) -> set[Any]:
    used = {atom for atom in jx.outvars(body) if not jx.is_literal(atom)}
    for k, eqn in enumerate(jx.equations(body)):
        if k not in inside:
            used.update(atom for atom in eqn.invars if not jx.is_literal(atom))
    return used
