"""Products of arrays, of whichever primitive: how much they sum, and along which axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from ...ir import jaxpr as jx


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product of matrices."""

    summed: float
    """Terms of each sum."""
    smallest: float
    turned: tuple[bool, bool]
    """Whether an operand is summed along another axis than a product in C order wants: it is put in order first."""
    outer: bool = False

    @classmethod
    def of(cls, shapes: Sequence[tuple[int, ...]], summed: Any, both: Any) -> Product:
        """That of two arrays, by the axes that are summed, and those that both have in common, of each."""
        terms = prod(shapes[0][k] for k in summed[0])
        free = [
            prod(n for k, n in enumerate(shape) if k not in (*own, *batch))
            for shape, own, batch in zip(shapes, summed, both, strict=True)
        ]
        last = [own and max(own) == len(shape) - 1 for shape, own in zip(shapes, summed, strict=True)]
        turned = bool(summed[0]) and not last[0] and free[0] > 1, bool(summed[1]) and bool(last[1]) and free[1] > 1
        return cls(summed=terms, smallest=min(*free, terms), turned=turned, outer=not summed[0])


def product_of(eqn: Any) -> Product | None:
    """An equation as a product of matrices; None where it is none."""
    shapes, params = [jx.shape_of(atom) for atom in eqn.invars], eqn.params
    match eqn.primitive.name:
        case "dot_general":
            return Product.of(shapes, *params["dimension_numbers"])
        case "etp":
            return _of_expression(str(params["expression"]), shapes)
        case "conv_general_dilated":
            outputs = jx.shape_of(eqn.outvars[0])[params["dimension_numbers"].out_spec[1]]
            summed = prod(shapes[1]) / max(1, outputs)
            return Product(summed=summed, smallest=summed, turned=(False, False))
        case _:
            return None


def _of_expression(expression: str, shapes: Sequence[tuple[int, ...]]) -> Product:
    terms, _, output = expression.partition("->")
    first, *others = terms.split(",")
    if not others:  # a bias
        return Product(summed=1, smallest=1, turned=(False, False), outer=True)
    common = [k for k in first if k in others[0]]
    summed, both = ([k for k in common if (k in output) is kept] for kept in (False, True))
    places = [[[term.index(k) for k in labels] for term in (first, others[0])] for labels in (summed, both)]
    return Product.of(shapes, *places)
