"""What a derivative must be before its flow can be analysed: linear in the cotangent."""

from __future__ import annotations

from typing import Any

from ...coupling.primitives import Constants, nonlinear_rule
from ...ir import jaxpr as jx
from ...ir.dataflow import Prologue
from ...ir.diagnostics import Diagnostic, EtirError


def refuse_nonlinear_rules(body: Any, params: int, states: int, prologue: Prologue) -> None:
    """Raise EtirError for backward rules that are not linear in the cotangent, where credit through them accumulates.

    That is on the way from states and parameters to new states, where it is carried from step to step, and between
    parameters and weights, whose cotangents are added up before they are pulled back. In a readout, where each step's
    credit passes by itself, any rule may stand.
    """
    equations = jx.equations(body)
    results = [atom for atom in jx.outvars(body)[:states] if jx.type_of(atom).carries_credit]
    carrying = {id(eqn) for eqn in jx.reaching(equations, results)}
    sources = jx.argument_vars(body)[: params + states]
    reached = {var for var in sources if var not in prologue.frozen and jx.type_of(var).carries_credit}
    constants = Constants(body)
    findings: list[Diagnostic] = []
    for place, eqn in enumerate(equations):
        if not any(atom in reached for atom in eqn.invars if not jx.is_literal(atom)):
            continue
        reached.update(eqn.outvars)
        if (id(eqn) in carrying or place in prologue.equations) and (culprit := nonlinear_rule(eqn, constants)):
            findings.append(_finding(eqn, culprit))
    if findings:
        raise EtirError(findings)


def _finding(eqn: Any, culprit: str) -> Diagnostic:
    return Diagnostic(
        code="nonlinear-rule",
        message="the backward rule of this custom_vjp is not linear in the cotangent, so it is no derivative",
        loc=jx.location(eqn),
        notes=(f"it applies '{culprit}' to the cotangent: what it returns depends on all credit that arrives at once",),
        help="clip or rescale gradients outside the step, as optax.clip does, or write a rule that is linear",
    )
