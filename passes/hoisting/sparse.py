"""Products of JAX's own sparse matrices, in branches and loops too, as products that may be sites."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import jax

from ...coupling.primitives import Constants
from ...ir import jaxpr as jx
from ...ir.weight_operations import apply_expression
from ..analyses.sparse_products import evaluated, sparse_pattern
from ..canonicalise import without_calls
from .uses import Reached, Wanted, entering, made_of_params, of_operands


def sparse_marked(body: Any, params: int, wanted: Wanted, frozen: Collection[int] = ()) -> Any:
    """A step's jaxpr with ETP operations for products of sparse weights with data, where the pattern is constant.

    JAX has one primitive for such a product, and indices as its operands: in a loop they are arguments of its body, and
    known only together with what the loop is given. Taken are those of which `wanted` says so.
    """
    made = [(() if k in frozen else (k,)) if k < params else None for k in range(len(jx.argument_vars(body)))]
    return _marked(body, made, wanted, [None] * len(made))


def _marked(body: Any, arguments: Sequence[Reached], wanted: Wanted, values: Sequence[Any]) -> Any:
    """A jaxpr whose arguments are made of these parameters, and are known where `values` has no None, so rewritten."""
    flat = without_calls(body)
    given = {var: x for var, x in zip(jx.argument_vars(flat), values, strict=True) if x is not None}
    known, constants = made_of_params(flat, arguments), Constants(flat, given)
    changes: dict[int, jx.Change] = {}
    for eqn in jx.equations(flat):
        operands = of_operands(eqn.invars, known)
        if not any(operands):
            continue
        bodies = _bodies(eqn)
        if bodies:
            known_there = [constants.get(atom) for atom in eqn.invars]
            new = [_entered(eqn, inner, operands, wanted, known_there) for inner in bodies]
            if any(inner is not old for inner, old in zip(new, bodies, strict=True)):
                changes[id(eqn)] = partial(_branching if eqn.primitive.name == "cond" else _looping, eqn, new)
        elif operands[0] and operands[-1] is None and wanted(operands[0]):
            pattern = sparse_pattern(eqn, constants)
            if pattern is not None:
                changes[id(eqn)] = partial(_product, eqn, pattern)
    return jx.replaced(flat, changes) if changes else body


def _bodies(eqn: Any) -> Sequence[Any]:
    """The bodies of a branch or of a loop."""
    return {"cond": ("branches",), "scan": ("jaxpr",)}.get(eqn.primitive.name, ()) and tuple(jx.sub_jaxprs(eqn))


def _entered(eqn: Any, body: Any, operands: Sequence[Reached], wanted: Wanted, values: Sequence[Any]) -> Any:
    """The body of a branch or of a loop, rewritten."""
    arguments = jx.argument_vars(body)
    skipped = len(operands) - len(arguments)
    same = jx.scan_split(eqn)[0] if eqn.primitive.name == "scan" else len(arguments)
    always = [x if k < same else None for k, x in enumerate(values[skipped:])]
    return _marked(body, entering(eqn, operands[skipped:]), wanted, always)


def _product(eqn: Any, pattern: Any, operands: list[Any]) -> list[Any]:
    return [evaluated(partial(apply_expression, "product"), eqn, pattern, operands[0], operands[-1])]


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
