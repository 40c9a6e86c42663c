"""Expressions by number: what a jaxpr computes again though it was given it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np

from ...ir import jaxpr as jx
from ..fusion import SAME

ZERO = -1
"""The number of zeros, of any shape."""
Numbers: TypeAlias = dict[Any, int]
"""By variable."""


class Expressions:
    """Numbers for what the variables of some jaxprs hold: those of one kind with equal numbers hold equal arrays.

    Equations that have a jaxpr inside, or effects, are equal to no others.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.known: dict[Hashable, int] = {}
        self.held: list[Any] = []

    def leaf(self, *name: Hashable) -> int:
        """The number of what is given, by any name that tells it from others."""
        return self.known.setdefault(("leaf", *name), len(self.known))

    def thing(self, value: Any) -> int:
        """The number of an array or tracer, equal to itself alone."""
        self.held.append(value)  # else another could come to have its identity
        return self.leaf("thing", id(value))

    def of(self, jaxpr: Any, arguments: Sequence[int]) -> Numbers:
        """The numbers of all variables of a closed jaxpr whose arguments have some."""
        consts = [self.thing(value) for value in jx.consts_of(jaxpr)]
        found = dict(zip(jx.all_invars(jaxpr), [*consts, *arguments], strict=True))
        for eqn in jx.equations(jaxpr):
            found.update(zip(eqn.outvars, self._results(eqn, found), strict=True))
        return found

    def _results(self, eqn: jx.Equation, found: Numbers) -> list[int]:
        if eqn.effects or next(jx.sub_jaxprs(eqn), None) is not None:
            return [self.leaf("variable", var) for var in eqn.outvars]
        operands = [self._operand(atom, found) for atom in eqn.invars]
        same = _same(eqn, operands)
        if same is not None:
            return [same]
        given = tuple(zip(operands, map(_kind, eqn.invars), strict=True))
        key = (eqn.primitive, tuple(sorted(eqn.params.items())), given)
        if not _is_hashable(key):
            return [self.leaf("variable", var) for var in eqn.outvars]
        return [self.known.setdefault((*key, k), len(self.known)) for k, _ in enumerate(eqn.outvars)]

    def _operand(self, atom: Any, found: Numbers) -> int:
        if not jx.is_literal(atom):
            return found[atom]
        value = np.asarray(atom.val)
        return self.leaf("literal", _kind(atom), value.tobytes()) if value.any() else ZERO


def repeated(numbers: Numbers, jaxpr: Any, given: Sequence[Any]) -> dict[Any, Any]:
    """The variables of a jaxpr that hold what some of its arguments, `given`, hold: for each that argument."""
    argument = {numbers[var]: var for var in reversed(given)}
    results = [var for eqn in jx.equations(jaxpr) for var in eqn.outvars]
    same = {var: argument.get(numbers[var]) for var in results if numbers[var] != ZERO}
    return {var: other for var, other in same.items() if other is not None and _kind(var) == _kind(other)}


def _same(eqn: jx.Equation, operands: list[int]) -> int | None:
    """The number of an operand that is all that an equation gives; None where it computes something."""
    name = eqn.primitive.name
    if name == "broadcast_in_dim" and operands == [ZERO]:
        return ZERO
    alike = [n for n, atom in zip(operands, eqn.invars, strict=True) if _kind(atom) == _kind(eqn.outvars[0])]
    if name in SAME and len(alike) == len(eqn.outvars) == 1:
        return alike[0]
    if name == "add" and ZERO in operands and len(alike) == 2:
        return next((n for n in alike if n != ZERO), ZERO)
    return None


def _kind(atom: Any) -> tuple[tuple[int, ...], str]:
    return jx.shape_of(atom), jx.dtype_of(atom)


def _is_hashable(key: Any) -> bool:
    try:
        hash(key)
    except TypeError:
        return False
    return True
