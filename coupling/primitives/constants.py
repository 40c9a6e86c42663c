"""Values that depend on no argument of a jaxpr: constant indices, above all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from ...ir import jaxpr as jx

MAX_SIZE = 2**22
"""Larger constants are not computed."""

MAX_DEPTH = 64
"""Constants that are computed in more steps than this are not followed."""


class Constants:
    """The integers and booleans of a jaxpr that depend on none of its arguments, computed when they are asked for."""

    def __init__(self, jaxpr: Any, given: Mapping[Any, npt.NDArray[np.generic]] | None = None) -> None:
        """Constants of `jaxpr`, with the values of some of its arguments."""
        consts = zip(jx.all_invars(jaxpr), jx.consts_of(jaxpr), strict=False)
        self._values: dict[Any, npt.NDArray[np.generic] | None] = dict(given or {})
        self._values.update({var: np.asarray(value) for var, value in consts if _is_index(var)})
        self._makers = {var: eqn for eqn in jx.equations(jaxpr) for var in eqn.outvars if not jx.is_dropped(var)}

    def get(self, atom: Any, depth: int = 0) -> npt.NDArray[np.generic] | None:
        """The value of an operand, `None` where it is not constant, or not an integer, or too large to compute."""
        if jx.is_literal(atom):
            return np.asarray(atom.val)
        if atom not in self._values:
            self._values[atom] = None
            self._compute(atom, depth)
        return self._values[atom]

    def maker(self, atom: Any) -> Any | None:
        """The equation of the jaxpr that makes an operand; `None` for arguments, constants and literals."""
        return None if jx.is_literal(atom) else self._makers.get(atom)

    def _compute(self, atom: Any, depth: int) -> None:
        """Evaluate the equation that makes a variable, if all its operands are constant."""
        eqn = self._makers.get(atom)
        if eqn is None or depth > MAX_DEPTH or eqn.effects or not all(map(_is_index, eqn.outvars)):
            return
        operands = [self.get(operand, depth + 1) for operand in eqn.invars]
        if any(value is None for value in operands):
            return
        with jax.ensure_compile_time_eval():
            results = jx.apply(eqn, [value for value in operands if value is not None])
        self._values.update((var, np.asarray(value)) for var, value in zip(eqn.outvars, results, strict=True))


def _is_index(atom: Any) -> bool:
    """Whether an operand is a moderate number of integers or booleans."""
    dtype = getattr(atom.aval, "dtype", None)
    kind = getattr(dtype, "kind", "")
    return kind in "iub" and bool(kind) and int(np.prod(jx.shape_of(atom), dtype=np.int64)) <= MAX_SIZE
