"""What a coupling rule is given, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ...ir import jaxpr as jx
from .. import Coupling
from .constants import Constants

Couplings: TypeAlias = Sequence[Sequence[Coupling | None]]
"""For each output, for each operand: how the output's derivative depends on it, `None` where it does not."""


class Analyse(Protocol):
    """Couplings of a jaxpr's results to its arguments."""

    def __call__(
        self, jaxpr: Any, values: Sequence[Any], seeds: Iterable[int] | None = None, *, unfolding: Any = None
    ) -> Couplings:
        """`values` are those of constant arguments, else `None`; `seeds` are the arguments to follow, all if `None`.

        `unfolding` is the primitive whose derivative the jaxpr is: where it stands in it again, it couples everything.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Context:
    """The surroundings of one equation."""

    analyse: Analyse
    """Reads the couplings of a body; what is unfolded here is not unfolded there again."""
    constants: Constants | None = None
    unfolded: frozenset[Any] = frozenset()
    """The primitives whose own derivative the equation was found in."""

    def value(self, atom: Any) -> npt.NDArray[np.generic] | None:
        """The value of an integer or boolean operand that is constant, or of a literal; `None` for any other."""
        if self.constants is None:
            return np.asarray(atom.val) if jx.is_literal(atom) else None
        return self.constants.get(atom)

    def integers(self, atom: Any) -> npt.NDArray[np.int64] | None:
        """The value of a constant operand, as integers."""
        value = self.value(atom)
        return None if value is None else value.astype(np.int64)

    def indices(self, atoms: Sequence[Any]) -> list[npt.NDArray[np.generic] | None]:
        """The values of operands that a body may use as indices, `None` for all others."""
        return [None if carries(atom) else self.value(atom) for atom in atoms]


Rule: TypeAlias = Callable[[Any, Context], Couplings]
"""Takes an equation; the operands and outputs that carry no derivative are masked out afterwards."""


def carries(atom: Any) -> bool:
    """Whether a derivative can pass through an operand or result: whether it is real or complex floating point."""
    dtype = getattr(atom.aval, "dtype", None)
    return dtype is not None and bool(jnp.issubdtype(dtype, np.inexact))


def in_shapes(eqn: Any) -> list[tuple[int, ...]]:
    """The shapes of an equation's operands."""
    return [jx.shape_of(atom) for atom in eqn.invars]


def out_shapes(eqn: Any) -> list[tuple[int, ...]]:
    """The shapes of an equation's results."""
    return [jx.shape_of(atom) for atom in eqn.outvars]


def for_each_output(eqn: Any, make: Callable[[tuple[int, ...], tuple[int, ...]], Coupling | None]) -> Couplings:
    """The same rule for every pair of an output and an operand, from their shapes `(operand, output)`."""
    return [[make(shape, out) for shape in in_shapes(eqn)] for out in out_shapes(eqn)]


def couples_everything(eqn: Any, context: Context) -> Couplings:
    """Every output position depends on every operand position: the rule for what has no other."""
    del context
    return for_each_output(eqn, Coupling.all)
