"""Operations that credit comes through and that JAX cannot differentiate in reverse mode."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from ...coupling.primitives import has_rule, refusal
from ...ir import jaxpr as jx
from ...ir.diagnostics import Diagnostic, EtirError
from .credit import Credit

_LOOP = "while"

_PARTLY = frozenset({
    "approx_top_k", "bessel_i0e", "bessel_i1e", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1", "cholesky_update",
    "eig", "hessenberg", "householder_product", "igamma", "igamma_grad_a", "igammac", "lu", "nextafter", "ormqr",
    "polygamma", "qr", "random_gamma", "random_gamma_grad", "reduce", "reduce_window", "regularized_incomplete_beta",
    "scatter-mul", "schur", "select_and_gather_add", "select_and_scatter", "svd", "tridiagonal", "zeta",
})  # fmt: skip
"""What JAX differentiates not at all, by some operands alone, or for some parameters: duplicate places, say."""


def refuse_without_reverse_mode(
    body: Any, params: int, states: int, credit: Credit, constant: Collection[Any] = ()
) -> None:
    """Raise EtirError for operations without a pull-back, where credit comes to them and leads on from them.

    Whether they have one is JAX's to say: they are asked for it, by the operands to which credit comes, of the results
    from which an output or a new state is reached. An integer counter, or what `stop_gradient` cuts off, is let be.
    Nothing is differentiated by arguments that are `constant`.
    """
    doubtful = [eqn for eqn in jx.equations(body) if any(_doubts(eqn))]
    if not doubtful:
        return
    arguments = jx.argument_vars(body)
    moving, learning = ([v for v in of if v not in constant] for of in (arguments, arguments[: params + states]))
    reached, leading = credit.reached_from(moving), credit.leading_to(jx.outvars(body))
    by_learning = credit.reached_from(learning)
    findings: list[Diagnostic] = []
    for eqn in doubtful:
        partly = all(inner.primitive.name in _PARTLY for inner in _doubts(eqn))
        come = by_learning if partly else reached  # by inputs it may be asked for later, or never
        by = [k for k, atom in enumerate(eqn.invars) if not jx.is_literal(atom) and atom in come]
        of = [k for k, var in enumerate(eqn.outvars) if var in leading]
        if by and of and (said := refusal(eqn, by, of, credit.constants)) is not None:
            findings.append(_finding(eqn, said, not by_learning.isdisjoint(eqn.invars[k] for k in by)))
    if findings:
        raise EtirError(findings)


def _doubts(eqn: Any) -> Iterator[Any]:
    """What may have no reverse mode among an equation and those in its bodies."""
    if eqn.primitive.name == _LOOP or eqn.primitive.name in _PARTLY or not has_rule(eqn):
        yield eqn
        return
    for body in jx.sub_jaxprs(eqn):
        for inner in jx.equations(body):
            yield from _doubts(inner)


def _finding(eqn: Any, said: str, learning: bool) -> Diagnostic:
    found = list(_doubts(eqn))
    inner = next((each for each in found if any(jx.type_of(var).carries_credit for var in each.outvars)), found[0])
    loop = inner.primitive.name == _LOOP
    what = "a while loop" if loop else f"'{inner.primitive.name}'"
    inside = "" if inner is eqn else f" inside '{eqn.primitive.name}'"
    remedy = (
        "let the number of its trips be known before it runs (lax.scan, or lax.fori_loop with Python ints), "
        "or write etir.transform.fixed_point where that is what it comes to"
        if loop
        else "give it a derivative (jax.custom_vjp)"
    )
    return Diagnostic(
        code="no-reverse-mode",
        message=f"credit of {'weights and states' if learning else 'an input'} passes through {what}{inside}, "
        "which JAX cannot differentiate in reverse mode",
        loc=jx.location(inner) or jx.location(eqn),
        notes=() if loop else (f"JAX says: {said.partition(chr(10))[0]}",),
        help=f"{remedy}; or, if no credit is meant to pass, give it jax.lax.stop_gradient of its operands",
    )
