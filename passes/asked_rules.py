"""Backward rules of `custom_vjp` that are written for some of their operands alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Any

import jax

from ..coupling.primitives import equation_couplings, refusal
from ..ir import jaxpr as jx
from .canonicalise import without_calls

_CUSTOM_VJP = ("custom_vjp_call", "custom_vjp_call_jaxpr")
_OWN_DERIVATIVE = (*_CUSTOM_VJP, "custom_jvp_call")


def with_asked_rules(body: Any, by: Collection[int] | None = None) -> Any:
    """`body`, with each rule that refuses an operand to which no credit comes made into one that has no part in that.

    An analysis asks a rule for all of its operands. JAX keeps what a rule was asked for, and what it keeps is spoilt by
    a refusal: the rule cannot be asked again for what it does give. So it is asked for that first, here, and what it
    said then takes its place. It gives nothing to the other operands, as if `stop_gradient` stood before them.
    Credit comes to the arguments at the places `by`, or to all.
    """
    if not any(_calls(body)):
        return body
    flat = without_calls(body)
    instead = _instead(flat, range(len(jx.argument_vars(flat))) if by is None else by)
    changes = {place: lambda operands, rule=rule: rule(*operands) for place, rule in instead}
    return jx.replaced(flat, changes) if changes else body


def _calls(body: Any) -> Iterator[Any]:
    """The equations of a body, and of those in it, that call a function with a backward rule."""
    for eqn in jx.equations(body):
        if eqn.primitive.name in _CUSTOM_VJP:
            yield eqn
        elif eqn.primitive.name not in _OWN_DERIVATIVE:
            for inner in jx.sub_jaxprs(eqn):
                yield from _calls(inner)


def _instead(body: Any, places: Collection[int]) -> Iterator[tuple[int, Any]]:
    """The equations of a body, by identity, that something else is run for, and that function of the operands."""
    arguments = jx.argument_vars(body)
    credited = {arguments[k] for k in places if jx.type_of(arguments[k]).carries_credit}
    for eqn in jx.equations(body):
        by = [k for k, atom in enumerate(eqn.invars) if not jx.is_literal(atom) and atom in credited]
        if eqn.primitive.name in _CUSTOM_VJP:
            changed = _asked(eqn, by) if by else None
        else:
            changed = None if eqn.primitive.name in _OWN_DERIVATIVE else _entered(eqn, by)
        if changed is not None:
            yield id(eqn), changed
        credited.update(_credited(eqn, by))


def _entered(eqn: Any, by: Sequence[int]) -> Any | None:
    """An equation whose bodies hold other rules, as a function of its operands; None where they do not."""
    bodies = {id(body): (body, with_asked_rules(body, _entering(eqn, by))) for body in jx.sub_jaxprs(eqn)}
    if all(new is old for old, new in bodies.values()):
        return None
    return partial(jx.bind, jx.with_bodies(eqn, lambda body: bodies[id(body)][1]))


def _entering(eqn: Any, by: Sequence[int]) -> list[int] | None:
    """The places of a body's arguments to which credit comes by some operands; None for all of them."""
    if eqn.primitive.name == "cond":
        return [k - 1 for k in by if k]
    if eqn.primitive.name != "scan":
        return None
    consts, carry, _ = jx.scan_split(eqn)
    return sorted({*by, *range(consts, consts + carry)})


def _credited(eqn: Any, by: Sequence[int]) -> list[Any]:
    """The results to which credit comes by some operands; of what has bodies, all that can carry it."""
    if not by:
        return []
    results = [var for var in eqn.outvars if jx.type_of(var).carries_credit]
    if any(jx.sub_jaxprs(eqn)):
        return results
    rows = dict(zip(eqn.outvars, equation_couplings(eqn), strict=True))
    return [var for var in results if any(rows[var][k] is not None for k in by)]


def _asked(eqn: Any, by: Sequence[int]) -> Any | None:
    """A call with what its rule says of some operands alone; None where it says it of all, or not even of these."""
    of = [k for k, var in enumerate(eqn.outvars) if jx.type_of(var).carries_credit]
    smooth = [k for k, atom in enumerate(eqn.invars) if jx.type_of(atom).carries_credit]
    if not of or len(by) == len(smooth) or refusal(eqn, by, of) is not None:
        return None
    ruled = _ruled(eqn, by, of)
    return None if refusal(eqn, smooth, of) is None else ruled


def _ruled(eqn: Any, by: Sequence[int], of: Sequence[int]) -> Any:
    """The function that an equation calls, with its rule for some operands and results, traced once and for all."""
    value = jx.function(next(jx.sub_jaxprs(eqn)))
    trees: list[Any] = []

    def forward(*operands: Any) -> Any:
        def apply(*moved: Any) -> Any:
            arguments = list(operands)
            for k, operand in zip(by, moved, strict=True):
                arguments[k] = operand
            results = jx.bind(eqn, *arguments)
            return [results[k] for k in of], results

        _, pull, results = jax.vjp(apply, *(operands[k] for k in by), has_aux=True)
        kept, tree = jax.tree.flatten(pull)
        trees.append(tree)
        return results, kept

    ahead, (results, kept) = jx.trace(forward, *map(jx.struct_of, eqn.invars))
    cotangents = [jx.struct_of(eqn.outvars[k]) for k in of]
    back, _ = jx.trace(lambda kept, cotangents: trees[0].unflatten(kept)(cotangents), kept, cotangents)
    run_ahead, run_back = jx.function(ahead), jx.function(back)

    def ahead_of(*operands: Any) -> tuple[list[Any], list[Any]]:
        found = run_ahead(*operands)
        return found[: len(results)], found[len(results) :]

    def back_from(kept: list[Any], cotangents: list[Any]) -> tuple[Any, ...]:
        bars = dict(zip(by, run_back(*kept, *(cotangents[k] for k in of)), strict=True))
        return tuple(bars.get(k) for k in range(len(eqn.invars)))

    ruled = jax.custom_vjp(value)
    ruled.defvjp(ahead_of, back_from)
    return ruled
