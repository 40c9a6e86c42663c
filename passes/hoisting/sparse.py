"""Products of JAX's own sparse matrices, in branches and loops too, as products that may be sites."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

from ...coupling.primitives import Constants
from ...ir import jaxpr as jx
from ...ir.weight_operations import apply_expression
from ..analyses.sparse_products import evaluated, sparse_pattern
from .everywhere import everywhere
from .uses import Known, Wanted, of_operands


def sparse_marked(body: Any, params: int, wanted: Wanted, frozen: Collection[int] = ()) -> Any:
    """A step's jaxpr with ETP operations for products of sparse weights with data, where the pattern is constant.

    JAX has one primitive for such a product, and indices as its operands. Taken are those of which `wanted` says so.
    """

    def changes(body: Any, known: Known, constants: Constants) -> Mapping[int, jx.Change]:
        found: dict[int, jx.Change] = {}
        for eqn in jx.equations(body):
            operands = of_operands(eqn.invars, known)
            if operands and operands[0] and operands[-1] is None and wanted(operands[0]):
                pattern = sparse_pattern(eqn, constants)
                if pattern is not None:
                    found[id(eqn)] = partial(_product, eqn, pattern)
        return found

    return everywhere(body, params, frozen, changes)


def _product(eqn: Any, pattern: Any, operands: list[Any]) -> list[Any]:
    return [evaluated(partial(apply_expression, "product"), eqn, pattern, operands[0], operands[-1])]
