"""Equations of a step rewritten wherever they stand, in branches and loops too."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import jax

from ...coupling.primitives import Constants
from ...ir import jaxpr as jx
from ..canonicalise import without_calls, without_dead_equations
from .uses import Known, Reached, entering, made_of_params, of_operands

Changes: TypeAlias = Callable[[Any, Known, Constants], Mapping[int, jx.Change]]
"""What to put in the place of a jaxpr's own equations, from the jaxpr and what is known of its variables."""


def everywhere(body: Any, params: int, frozen: Collection[int], changes: Changes) -> Any:
    """A step's jaxpr, `params` arguments first, with changes of it and of the bodies of its branches and loops.

    Indices may be operands of a loop: in its body they are known only together with what the loop is given.
    """
    made = [(() if k in frozen else (k,)) if k < params else None for k in range(len(jx.argument_vars(body)))]
    return _changed(body, made, changes, [None] * len(made))


def _changed(body: Any, arguments: Sequence[Reached], changes: Changes, values: Sequence[Any]) -> Any:
    """A jaxpr whose arguments are made of these parameters, and are known where `values` has no None, so rewritten."""
    flat = without_calls(body)
    given = {var: x for var, x in zip(jx.argument_vars(flat), values, strict=True) if x is not None}
    known, constants = made_of_params(flat, arguments), Constants(flat, given)
    found = dict(changes(flat, known, constants))
    for eqn in jx.equations(flat):
        operands = of_operands(eqn.invars, known)
        bodies = _bodies(eqn) if any(operands) else ()
        known_there = [constants.get(atom) for atom in eqn.invars] if bodies else []
        new = [_entered(eqn, inner, operands, changes, known_there) for inner in bodies]
        if any(inner is not old for inner, old in zip(new, bodies, strict=True)):
            found[id(eqn)] = partial(_branching if eqn.primitive.name == "cond" else _looping, eqn, new)
    return without_dead_equations(jx.replaced(flat, found)) if found else body


def _bodies(eqn: Any) -> Sequence[Any]:
    """The bodies of a branch or of a loop."""
    return {"cond": ("branches",), "scan": ("jaxpr",)}.get(eqn.primitive.name, ()) and tuple(jx.sub_jaxprs(eqn))


def _entered(eqn: Any, body: Any, operands: Sequence[Reached], changes: Changes, values: Sequence[Any]) -> Any:
    """The body of a branch or of a loop, rewritten."""
    arguments = jx.argument_vars(body)
    skipped = len(operands) - len(arguments)
    same = jx.scan_split(eqn)[0] if eqn.primitive.name == "scan" else len(arguments)
    always = [x if k < same else None for k, x in enumerate(values[skipped:])]
    return _changed(body, entering(eqn, operands[skipped:]), changes, always)


def _branching(eqn: Any, bodies: Sequence[Any], operands: list[Any]) -> list[Any]:
    """The results of a `cond` with these branches."""
    index, *arguments = operands
    return list(jax.lax.switch(index, [partial(jx.evaluate, body) for body in bodies], arguments))


def _looping(eqn: Any, bodies: Sequence[Any], operands: list[Any]) -> list[Any]:
    """The results of a `scan` with this body."""
    (body,) = bodies
    consts, carry, _ = jx.scan_split(eqn)

    def trip(now: list[Any], of_trip: list[Any]) -> tuple[list[Any], list[Any]]:
        found = jx.evaluate(body, [*operands[:consts], *now, *of_trip])
        return found[:carry], found[carry:]

    first, scanned = operands[consts : consts + carry], operands[consts + carry :]
    options = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
    after, stacked = jax.lax.scan(trip, first, scanned, **options)
    return [*after, *stacked]
