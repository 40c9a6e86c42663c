"""Products in a jaxpr as index expressions: `dot_general`, and the operations that say their own."""

from __future__ import annotations

from typing import Any

from ...ir import jaxpr as jx
from ...ir.expression import LABELS, Expression

LINEAR_IN_BOTH = "dot_general"
PRODUCTS = (LINEAR_IN_BOTH, "etp")


def product_expression(eqn: Any) -> Expression | None:
    """The index expression of a product, its operands in the equation's order; None where it is no product of two."""
    if len(eqn.invars) != 2:
        return None
    if eqn.primitive.name == "etp":
        expression: Expression = eqn.params["expression"]
        return expression
    return _of_dot_general(eqn) if eqn.primitive.name == LINEAR_IN_BOTH else None


def _of_dot_general(eqn: Any) -> Expression:
    (contract, batch), ranks = eqn.params["dimension_numbers"], [len(jx.shape_of(atom)) for atom in eqn.invars]
    fresh = iter(LABELS)
    terms: list[list[str]] = [["" for _ in range(rank)] for rank in ranks]
    for pairs in (batch, contract):
        for left, right in zip(*pairs, strict=True):
            terms[0][left] = terms[1][right] = next(fresh)
    for term in terms:
        term[:] = [label or next(fresh) for label in term]
    shared = [terms[0][axis] for axis in batch[0]]
    contracted = {terms[0][axis] for axis in contract[0]}
    free = [label for term in terms for label in term if label not in contracted and label not in shared]
    return Expression(operands=("".join(terms[0]), "".join(terms[1])), output="".join([*shared, *free]))
