"""A step run twice: forwards, leaving what is costly to have again, and backwards from that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from ...coupling.primitives import elementwise, structure
from ...ir import jaxpr as jx
from ...ir.expression import Expression
from ..calls import Arrays
from ..fusion import SERIES
from .algebra import added


class Slope(NamedTuple):
    """The derivative of one variable by another."""

    by: Any
    value: Any
    received: Callable[[Any, Any], Any]
    """`(cotangent, value) -> cotangent` of `by`."""


Slopes: TypeAlias = Mapping[Any, Sequence[Slope]]
"""For a variable the derivatives by all that it is made of."""


class Replay:
    """One jaxpr, and which of its equations are costly: all that are not element-wise, and do not only move values.

    Reverse mode needs the values inside a step. Those of costly equations are kept, all others are computed again: so
    a loop backwards over many steps reads what they were begun with, and the results of their products.
    """

    def __init__(self, body: Any, moved: Collection[int]) -> None:
        """Look through the equations of a closed jaxpr, to be differentiated by the arguments in the places `moved`."""
        self.body = body
        self.equations = jx.equations(body)
        self.moved = {var for k, var in enumerate(jx.argument_vars(body)) if k in moved}
        """The variables that depend on what is differentiated by."""
        for eqn in self.equations:
            if any(not jx.is_literal(atom) and atom in self.moved for atom in eqn.invars):
                self.moved.update(eqn.outvars)
        self.joined = {eqn.outvars[0]: eqn for eqn in self.equations if eqn.primitive.name == "concatenate"}

    @property
    def costly(self) -> list[Any]:
        """The variables of costly equations, and of those that take many operations an element."""
        kept = [eqn for eqn in self.equations if eqn.primitive.name in SERIES or not _is_cheap(eqn)]
        return [var for eqn in kept for var in eqn.outvars]

    def forward(self, arguments: Sequence[Any]) -> dict[Any, Any]:
        """The values of all variables."""
        env = self._env(arguments)
        jx.run_equations(self.equations, env, located=False)
        return env

    def values(self, arguments: Sequence[Any], left: Mapping[Any, Any]) -> dict[Any, Any]:
        """The values of all variables again, those of costly equations and whatever else is `left` given."""
        env = self._env(arguments) | dict(left)
        for eqn in self.equations:
            if any(var not in env for var in eqn.outvars):
                jx.run_equations([eqn], env, located=False)
        return env

    def again(self, arguments: Sequence[Any], values: dict[Any, Any], slopes: Slopes, wanted: Sequence[int]) -> Arrays:
        """The results in some places, to be differentiated by the arguments; `values` are those of all variables.

        What has `slopes` is differentiated by these alone.
        """
        env = values | dict(zip(jx.argument_vars(self.body), arguments, strict=True))
        results = jx.outvars(self.body)
        for eqn in self._reaching([results[k] for k in wanted], slopes):
            if eqn.outvars[0] in slopes:
                variable, own = eqn.outvars[0], slopes[eqn.outvars[0]]
                env[variable] = sloped(env[variable], [env[slope.by] for slope in own], own)
            elif _is_cheap(eqn):
                jx.run_equations([eqn], env, located=False)
            else:
                known_results = [values[var] for var in eqn.outvars]
                env.update(zip(eqn.outvars, self._given(eqn, known_results, env), strict=True))
        return [jx.read(env, results[k]) for k in wanted]

    def _reaching(self, targets: Sequence[Any], slopes: Slopes) -> list[jx.Equation]:
        """The equations that move some variables, in order, those aside that only lead to what has slopes."""
        needed = {atom for atom in targets if not jx.is_literal(atom)}
        kept: list[jx.Equation] = []
        for eqn in reversed(self.equations):
            if needed.isdisjoint(eqn.outvars) or self.moved.isdisjoint(eqn.outvars):
                continue
            kept.append(eqn)
            own = [slope.by for slope in slopes[eqn.outvars[0]]] if eqn.outvars[0] in slopes else eqn.invars
            needed.update(atom for atom in own if not jx.is_literal(atom))
        return kept[::-1]

    def _env(self, arguments: Sequence[Any]) -> dict[Any, Any]:
        return dict(zip(jx.all_invars(self.body), [*jx.consts_of(self.body), *arguments], strict=True))

    def _given(self, eqn: jx.Equation, results: list[Any], env: dict[Any, Any]) -> list[Any]:
        """An equation's known results, with its derivative by what goes in.

        A product with pieces put together, of which some do not depend on what is differentiated by, as a step's inputs
        do not, is differentiated as the sum of the pieces' products: so nothing is computed for those.
        """
        operands = [jx.read(env, atom) for atom in eqn.invars]
        for axes in _contracted(eqn):
            for side in (0, 1):
                atom: Any = eqn.invars[side]
                joined = None if jx.is_literal(atom) else self.joined.get(atom)
                if joined is None or joined.params["dimension"] != axes[side]:
                    continue
                if not all(not jx.is_literal(atom) and atom in self.moved for atom in joined.invars):
                    pieces = [jx.read(env, atom) for atom in joined.invars]
                    return known(partial(_of_pieces, eqn, side, axes), results, [*pieces, operands[1 - side]])
        moved = [k for k, atom in enumerate(eqn.invars) if not jx.is_literal(atom) and atom in self.moved]
        return known(partial(jx.bind, eqn), results, operands, moved)


def _contracted(eqn: jx.Equation) -> list[tuple[int, int]]:
    """The axes of a product's two operands that are summed over together; none for every other equation."""
    if eqn.primitive.name == "dot_general":
        return list(zip(*eqn.params["dimension_numbers"][0], strict=True))
    if eqn.primitive.name != "etp" or len(eqn.invars) != 2:
        return []
    expression: Expression = eqn.params["expression"]
    left, right = expression.operands
    return [(left.index(x), right.index(x)) for x in left if x in right and x not in expression.output]


def _of_pieces(eqn: jx.Equation, side: int, axes: tuple[int, int], *given: Any) -> list[Any]:
    """A product whose operand on one side is put together of all that is given but the last, piece by piece."""
    *pieces, other = given
    terms, start = list[Any](), 0
    for piece in pieces:
        stop = start + piece.shape[axes[side]]
        part = jax.lax.slice_in_dim(other, start, stop, axis=axes[1 - side])
        terms += jx.bind(eqn, *((piece, part) if side == 0 else (part, piece)))
        start = stop
    return [added(terms)]


def known(
    function: Any, results: list[Any], operands: Sequence[Any], moved: Collection[int] | None = None
) -> list[Any]:
    """What a function of some operands is known to give, with its derivative by those at the places `moved`, or by all.

    A backward rule may refuse to be asked for more than is moved.
    """
    if not any(jnp.issubdtype(x.dtype, jnp.inexact) for x in results):
        return results
    places = [
        k
        for k, x in enumerate(operands)
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact) and (moved is None or k in moved)
    ]

    @jax.custom_vjp
    def given(chosen: Arrays, rest: Any) -> list[Any]:
        del chosen
        return rest[0]

    def forward(chosen: Arrays, rest: Any) -> tuple[list[Any], Any]:
        return rest[0], (chosen, rest[1])

    def reverse(kept: Any, cotangents: Any) -> tuple[Any, None]:
        chosen, others = kept

        def run(*chosen: Any) -> list[Any]:
            every = list(others)
            for k, x in zip(places, chosen, strict=True):
                every[k] = x
            return function(*every)

        return list(jax.vjp(run, *chosen)[1](cotangents)), None

    given.defvjp(forward, reverse)
    others = [None if k in places else x for k, x in enumerate(operands)]
    return given([operands[k] for k in places], (results, others))


def sloped(value: Any, sources: list[Any], slopes: Sequence[Slope]) -> Any:
    """A value whose derivatives by what it is made of are known."""

    @jax.custom_vjp
    def given(sources: list[Any], known: tuple[Any, list[Any]]) -> Any:
        del sources
        return known[0]

    def forward(sources: list[Any], known: tuple[Any, list[Any]]) -> tuple[Any, list[Any]]:
        del sources
        return known

    def backward(values: list[Any], cotangent: Any) -> tuple[list[Any], None]:
        cotangent = jax.lax.optimization_barrier(cotangent)
        return [slope.received(cotangent, x) for slope, x in zip(slopes, values, strict=True)], None

    given.defvjp(forward, backward)
    return given(sources, (value, [slope.value for slope in slopes]))


def _is_cheap(eqn: jx.Equation) -> bool:
    """Whether an equation takes about what its results take in memory: an element or a place each."""
    name = eqn.primitive.name
    if name in elementwise.RULES or name in structure.RULES:
        return not eqn.effects
    bodies = list(jx.sub_jaxprs(eqn))
    called = name.startswith("custom_") or jx.callee(eqn) is not None
    return called and bool(bodies) and all(_is_cheap(inner) for body in bodies for inner in jx.equations(body))
