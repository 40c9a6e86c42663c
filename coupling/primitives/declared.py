"""Couplings that are declared of a primitive: its author's word, kept on the primitive itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from ...ir import jaxpr as jx
from ...ir.diagnostics import EtirError, error
from .context import Context, Couplings, Rule, in_shapes, out_shapes
from .elementwise import broadcasting

Shapes: TypeAlias = Sequence[tuple[int, ...]]

Declaration: TypeAlias = Callable[[Shapes, Shapes, Mapping[str, Any]], Couplings]
"""From the shapes of operands and of results, and an equation's parameters, to `[result][operand]` couplings."""

_KEY = "etir_coupling"


def declare_coupling(primitive: Any, coupling: Declaration) -> None:
    """Say how the derivative of a primitive's results depends on its operands, position by position.

    `primitive` is a `jax.extend.core.Primitive`; `coupling(in_shapes, out_shapes, params)` gives, for each result, a
    `Coupling` (or None, where it has no derivative) for each operand; `elementwise_coupling` is one. What is declared
    is kept on the primitive, takes the place of what its derivative shows, and is believed: labels are only as true as
    it is. Raises EtirError, when a model is compiled, where it has not one coupling of the right shapes for each pair.

    Without a declaration a primitive's derivative rule is traced and read, so one is of use only where that shows too
    much: a gather by indices that are computed, say.
    """
    primitive.__dict__[_KEY] = coupling


def elementwise_coupling(in_shapes: Shapes, out_shapes: Shapes, params: Mapping[str, Any]) -> Couplings:
    """Each result depends on each operand position by position; axes of size one are repeated."""
    del params
    return [[broadcasting(shape, out) for shape in in_shapes] for out in out_shapes]


def declared_rule(primitive: Any) -> Rule | None:
    """The rule of a primitive of which a coupling was declared."""
    declared: Declaration | None = getattr(primitive, _KEY, None)
    return None if declared is None else lambda eqn, context: _checked(eqn, declared, context)


def _checked(eqn: Any, declared: Declaration, context: Context) -> Couplings:
    del context
    operands, results = in_shapes(eqn), out_shapes(eqn)
    rows = declared(operands, results, eqn.params)
    if [len(row) for row in rows] != [len(operands)] * len(results):
        found = f"rows of {' and '.join(str(len(row)) for row in rows) or 'nothing'}"
        raise _wrong(eqn, found, f"{len(results)} x {len(operands)} entries, results by operands")
    for k, (row, result) in enumerate(zip(rows, results, strict=True)):
        for i, (entry, operand) in enumerate(zip(row, operands, strict=True)):
            if entry is not None and (entry.in_shape, entry.out_shape) != (operand, result):
                found = f"{list(entry.in_shape)} to {list(entry.out_shape)}"
                raise _wrong(eqn, found, f"{list(operand)} to {list(result)} for operand {i} and result {k}")
    return rows


def _wrong(eqn: Any, found: str, wanted: str) -> EtirError:
    return error(
        "coupling-shape",
        f"the coupling declared of '{eqn.primitive.name}' is {found}; wanted {wanted}",
        loc=jx.location(eqn),
    )
