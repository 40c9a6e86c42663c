"""Whether the backward rule of a `custom_vjp` is linear in the cotangent, as a derivative is.

Eligibility traces carry derivatives. A rule that clips its cotangent, takes its sign or adds to it is none: what it
does depends on all the credit that arrives at once, and nothing that is carried forward in time can know that.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import jax
import numpy as np

from ...ir import jaxpr as jx
from ...ir.operations.call import body_of
from .context import Context, carries
from .derivative import pullback

_CUSTOM_VJP = ("custom_vjp_call", "custom_vjp_call_jaxpr")


class Kind(IntEnum):
    """How a value depends on cotangents; what comes of several operands is the largest, unless a rule says other."""

    ZERO = 0
    FREE = 1
    """Not at all."""
    LINEAR = 2
    OTHER = 3
    """In some other way, as far as can be told."""


_LINEAR = frozenset({
    "add_any", "all_gather", "all_to_all", "broadcast_in_dim", "complex", "concatenate", "conj", "convert_element_type",
    "copy", "copy_p", "cumsum", "device_put", "expand_dims", "fft", "imag", "name", "neg", "optimization_barrier",
    "pad", "psum", "pvary", "real", "reduce_precision", "reduce_sum", "reduce_window_sum", "reshape", "rev",
    "sharding_constraint", "slice", "split", "squeeze", "sub", "add", "transpose",
})  # fmt: skip
"""Linear in all operands together."""

_MULTILINEAR = frozenset({"conv_general_dilated", "dot_general", "etp", "etp_call", "mul"})
"""Linear in each operand."""

_LINEAR_IN = {
    "div": (0,), "dynamic_slice": (0,), "dynamic_update_slice": (0, 1), "gather": (0,), "scatter": (0, 2),
    "scatter-add": (0, 2), "scatter_add": (0, 2), "select_and_scatter_add": (0,), "triangular_solve": (1,),
}  # fmt: skip
"""Linear in the operands at these places together; the others must be free of cotangents."""


def nonlinear_rule(eqn: Any, context: Context) -> str | None:
    """What in an equation's backward rules, those in its bodies included, is not linear; None where all are linear.

    The name of a primitive, for the one that turns a cotangent into something that is no linear function of it.
    """
    if eqn.primitive.name in _CUSTOM_VJP:
        try:
            body, cotangents = pullback(eqn, context)
        except Exception:  # a rule that cannot be traced says so itself where it is used
            return None
        culprits: list[str] = []
        free = len(jx.argument_vars(body)) - cotangents
        kinds = _kinds(body, [Kind.LINEAR] * cotangents + [Kind.FREE] * free, culprits)
        return (culprits or [eqn.primitive.name])[0] if Kind.OTHER in kinds else None
    found = (
        nonlinear_rule(inner, Context(analyse=context.analyse))
        for body in ([body_of(eqn)] if eqn.primitive.name == "etp_call" else jx.sub_jaxprs(eqn))
        for inner in jx.equations(body)
    )
    return next((name for name in found if name), None)


def _kinds(body: Any, arguments: Sequence[Kind], culprits: list[str]) -> list[Kind]:
    """The kinds of a jaxpr's results; the primitives that make `OTHER` of something linear are added to `culprits`."""
    consts = [_of_array(value) for value in jx.consts_of(body)]
    known: dict[Any, Kind] = dict(zip(jx.all_invars(body), [*consts, *arguments], strict=True))
    for eqn in jx.equations(body):
        operands = [_of_atom(atom, known) for atom in eqn.invars]
        results = _results(eqn, operands, culprits)
        if Kind.OTHER in results and Kind.OTHER not in operands and not list(jx.sub_jaxprs(eqn)):
            culprits.append(eqn.primitive.name)
        known.update(zip(eqn.outvars, results, strict=True))
    return [_of_atom(atom, known) for atom in jx.outvars(body)]


def _results(eqn: Any, operands: list[Kind], culprits: list[str]) -> list[Kind]:
    highest = max(operands, default=Kind.FREE)
    if highest is Kind.OTHER:
        return [Kind.OTHER] * len(eqn.outvars)
    if highest <= Kind.FREE:
        zero = highest is Kind.ZERO and eqn.primitive.name in _LINEAR
        zero = zero or (Kind.ZERO in operands and eqn.primitive.name in _MULTILINEAR)
        return [Kind.ZERO if zero else Kind.FREE] * len(eqn.outvars)
    bodies = list(jx.sub_jaxprs(eqn))
    if bodies and eqn.primitive.name not in _LINEAR_IN:
        return _through_bodies(eqn, bodies, operands, culprits)
    return [_one(eqn, operands) if carries(var) else Kind.OTHER for var in eqn.outvars]


def _one(eqn: Any, operands: list[Kind]) -> Kind:
    """The kind of an operation's results, of which some operand is linear."""
    name = eqn.primitive.name
    if name in _LINEAR:
        return _together(operands)
    if name in _MULTILINEAR:
        return Kind.LINEAR if operands.count(Kind.LINEAR) == 1 else Kind.OTHER
    if name == "select_n":
        return _together(operands[1:]) if operands[0] <= Kind.FREE else Kind.OTHER
    if name in _LINEAR_IN:
        places = _LINEAR_IN[name]
        others = [kind for k, kind in enumerate(operands) if k not in places]
        return _together([operands[k] for k in places]) if max(others, default=Kind.FREE) <= Kind.FREE else Kind.OTHER
    smooth = [k for k, atom in enumerate(eqn.invars) if carries(atom)]
    return _together([operands[k] for k in smooth]) if _is_transposable(eqn, smooth) else Kind.OTHER


def _is_transposable(eqn: Any, places: Sequence[int]) -> bool:
    """Whether JAX has the transpose of an operation by the operands at these places together: it is linear in them."""

    def transposed(operands: list[Any], cotangents: list[Any]) -> Any:
        def apply(*moved: Any) -> list[Any]:
            given = dict(zip(places, moved, strict=True))
            return jx.bind(eqn, *(given.get(k, operand) for k, operand in enumerate(operands)))

        return jax.linear_transpose(apply, *(jx.struct_of(eqn.invars[k]) for k in places))(cotangents)

    try:
        jx.trace(transposed, [jx.struct_of(atom) for atom in eqn.invars], [jx.struct_of(var) for var in eqn.outvars])
    except Exception:  # of whatever class: a primitive's rules raise what they like
        return False
    return True


def _together(operands: Sequence[Kind]) -> Kind:
    """The sum of such values: of something linear and something that is neither linear nor zero, nothing is known."""
    if Kind.LINEAR in operands and Kind.FREE in operands:
        return Kind.OTHER
    return max(operands)


def _through_bodies(eqn: Any, bodies: list[Any], operands: list[Kind], culprits: list[str]) -> list[Kind]:
    """The kinds of the results of a call, of branches, of a linear solve, or of a loop over a carry."""
    name = eqn.primitive.name
    if name == "cond" and operands[0] <= Kind.FREE:
        found = [_kinds(body, operands[1:], culprits) for body in bodies]
        return [_together(kinds) for kinds in zip(*found, strict=True)]
    if name == "custom_linear_solve":
        consts = sum(eqn.params["const_lengths"])
        matrix = max(operands[:consts], default=Kind.FREE)
        return [_together(operands[consts:]) if matrix <= Kind.FREE else Kind.OTHER] * len(eqn.outvars)
    if name == "scan":
        consts, carry, _ = jx.scan_split(eqn)
        kinds = list(operands)
        while True:
            found = _kinds(bodies[0], kinds, culprits)
            after = [_together(pair) for pair in zip(kinds[consts : consts + carry], found[:carry], strict=True)]
            if after == kinds[consts : consts + carry]:
                return found
            kinds[consts : consts + carry] = after
    if name == "while":
        return _through_while(eqn, operands, culprits)
    if len(jx.argument_vars(bodies[0])) == len(operands):
        return _kinds(bodies[0], operands, culprits)
    return [Kind.OTHER] * len(eqn.outvars)


def _through_while(eqn: Any, operands: list[Kind], culprits: list[str]) -> list[Kind]:
    """The kinds of what a loop leaves: linear only where the number of its trips is free of cotangents."""
    of_condition, of_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    asked, consts, kinds = (
        operands[:of_condition], operands[of_condition : of_condition + of_body], operands[of_condition + of_body :],
    )  # fmt: skip
    while True:
        found = _kinds(eqn.params["body_jaxpr"], [*consts, *kinds], culprits)
        after = [_together(pair) for pair in zip(kinds, found, strict=True)]
        if after == kinds:
            break
        kinds = after
    (ends,) = _kinds(eqn.params["cond_jaxpr"], [*asked, *kinds], culprits)
    return kinds if ends <= Kind.FREE else [Kind.OTHER] * len(kinds)


def _of_atom(atom: Any, known: dict[Any, Kind]) -> Kind:
    return _of_array(atom.val) if jx.is_literal(atom) else known[atom]


def _of_array(value: Any) -> Kind:
    """Zero where an array is known to hold nothing else."""
    try:
        return Kind.FREE if np.any(np.asarray(value)) else Kind.ZERO
    except TypeError:  # a random key, say
        return Kind.FREE
