"""Element-wise stretches of a linear jaxpr, each as a sum of multiples of what it begins with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from ...ir import jaxpr as jx

ELEMENTWISE = frozenset({"add", "add_any", "copy", "div", "mul", "neg", "select_n", "sub"})


class Multiples:
    """What a linear jaxpr makes element by element: `v = sum_b factor(v, b) * b`, one factor for each beginning `b`.

    A beginning is a linear value that no element-wise equation makes. A factor is a product of what all equations
    between multiply with: the derivative of the stretch. A mean of derivatives is one too; a product of the means of
    their parts is not: `x^3` and `1 - tanh(x^3)^2` are parts of a GELU's, each large where the other vanishes.
    """

    def __init__(self, equations: Sequence[Any], linear: Collection[Any], moving: Collection[Any]) -> None:
        """Of the equations that make `linear`; `moving` of what they read differs between steps."""
        self.linear, self.makers = frozenset(linear), dict[Any, Any]()
        self._moves = dict[Any, dict[Any, bool]]()
        for eqn in equations:
            if not _is_elementwise(eqn):
                continue
            (made,) = eqn.outvars
            self.makers[made] = eqn
            moves = any(a in moving for a in eqn.invars if not jx.is_literal(a))
            of = dict[Any, bool]()
            for operand in filter(self._is_linear, eqn.invars):
                for beginning, before in self.beginnings(operand).items():
                    of[beginning] = of.get(beginning, False) or before or moves
            self._moves[made] = of

    def beginnings(self, variable: Any) -> Mapping[Any, bool]:
        """What a linear variable is a sum of multiples of, and whether the factor differs between steps."""
        return self._moves.get(variable, {variable: False})

    def makes(self, eqn: Any) -> bool:
        """Whether an equation is inside a stretch."""
        return eqn.outvars[0] in self._moves

    def on(self, env: Mapping[Any, Any]) -> Callable[[Any, Any], Any]:
        """`factor(v, b)`, of the shape of `v`: the stretch on ones, with the values of what is not linear in `env`."""
        known = dict[tuple[Any, Any], Any]()

        def factor(variable: Any, beginning: Any) -> Any:
            if variable is beginning:
                return _filled(jnp.ones, variable)
            if beginning not in self.beginnings(variable):
                return _filled(jnp.zeros, variable)
            if (variable, beginning) not in known:
                eqn = self.makers[variable]
                operands = [factor(a, beginning) if self._is_linear(a) else jx.read(env, a) for a in eqn.invars]
                (known[variable, beginning],) = jx.apply(eqn, operands)
            return known[variable, beginning]

        return factor

    def _is_linear(self, atom: Any) -> bool:
        return not jx.is_literal(atom) and atom in self.linear


def _is_elementwise(eqn: Any) -> bool:
    """Whether an equation is, and from one kind of number to the same."""
    if eqn.primitive.name in ELEMENTWISE:
        return True
    kinds = (jx.dtype_of(eqn.invars[0]), jx.dtype_of(eqn.outvars[0])) if eqn.invars else ()
    same = any(all(jnp.issubdtype(kind, family) for kind in kinds) for family in (jnp.floating, jnp.complexfloating))
    return eqn.primitive.name == "convert_element_type" and same


def _filled(make: Any, variable: Any) -> Any:
    return make(jx.shape_of(variable), jx.dtype_of(variable))
