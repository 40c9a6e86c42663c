"""Which results of a jaxpr are arguments of it, given back as they came."""

from __future__ import annotations

from typing import Any

from . import jaxpr as jx


def passed_through(jaxpr: Any) -> list[int | None]:
    """For each result, the place of the argument that it is, through calls, loops and branches; None if computed."""
    known: dict[Any, int] = {var: place for place, var in enumerate(jx.argument_vars(jaxpr))}
    for eqn in jx.equations(jaxpr):
        for result, place in zip(eqn.outvars, _operands_returned(eqn), strict=True):
            operand = None if place is None else eqn.invars[place]
            if operand is not None and not jx.is_literal(operand) and operand in known:
                known[result] = known[operand]
    return [None if jx.is_literal(atom) else known.get(atom) for atom in jx.outvars(jaxpr)]


def _operands_returned(eqn: Any) -> list[int | None]:
    """For each result of an equation, the place of the operand that it is."""
    name, body = eqn.primitive.name, jx.callee(eqn)
    if body is not None:
        return passed_through(body)
    if name == "scan":
        consts, carry, _ = jx.scan_split(eqn)
        inner = enumerate(passed_through(eqn.params["jaxpr"]))
        return [place if place is not None and _in_step(k, place, consts, carry) else None for k, place in inner]
    if name == "while":
        before, consts = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
        inner = enumerate(passed_through(eqn.params["body_jaxpr"]))
        return [before + place if place == consts + k else None for k, place in inner]
    if name == "cond":
        branches = zip(*map(passed_through, eqn.params["branches"]), strict=True)
        return [1 + places[0] if len(set(places)) == 1 and places[0] is not None else None for places in branches]
    return [None] * len(eqn.outvars)


def _in_step(result: int, place: int, consts: int, carry: int) -> bool:
    """Whether a result of a scan's body leaves the loop as its operand entered: as a carry, or row by row."""
    return place == consts + result if result < carry else place >= consts + carry
