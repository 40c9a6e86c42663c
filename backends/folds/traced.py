"""A function traced once, for what it returns and what it reads of its arguments, and run as often as wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ..shared import is_parts

TURNED = 1 << 24
"""The most bytes of a matrix that is held a second time, transposed: more would be felt."""
TURNED_FROM = 8
"""So many times a product must be taken before transposing its matrix pays."""
SUMMED_FROM = 1 << 12
"""So many numbers a product of two arrays must have for its sum to be taken apart from it."""


Given: TypeAlias = Mapping[Any, Any]
"""For variables that hold what an argument holds the variable of that argument."""


class Traced:
    """What a function of trees of arrays does, on arguments like some examples.

    What depends on none of them, but on what the function closes over, is computed once: XLA leaves it in loops. So is
    the transpose of a matrix in a product `y W^T`: on a CPU XLA, as of JAX 0.12, packs `W` anew each time, which takes
    1.3 to 3 times as long for few rows of `y`. On a CPU a large product, number by number, is made before it is summed:
    its kernel for both at once takes five times as long.
    """

    def __init__(
        self, function: Callable[..., Any], *examples: Any, runs: int = 1, given: Callable[[Any], Given] | None = None
    ) -> None:
        """Trace `function`, where what it closes over is known. It is to be run so many times, or fewer.

        `given` says of the jaxpr which variables hold what an argument holds: these are not computed.
        """
        self.body, self.kinds = jx.trace(function, *examples)
        self.results = jx.outvars(self.body)
        self.given = {} if given is None else given(self.body)
        others = [e for e in jx.equations(self.body) if e.effects or not all(var in self.given for var in e.outvars)]
        equations = jx.reaching(others, self.results)
        atoms = [atom for eqn in equations for atom in eqn.invars]
        read = {self.given.get(atom, atom) for atom in [*atoms, *self.results] if not jx.is_literal(atom)}
        flags = iter([var in read for var in jx.argument_vars(self.body)])
        self.reads = [[next(flags) for _ in jax.tree.leaves(of)] for of in examples]
        """For each argument and leaf of it, whether anything depends on it."""
        self.once: dict[Any, Any] = dict(zip(jx.all_invars(self.body), jx.consts_of(self.body), strict=False))
        self.equations: list[jx.Equation] = []
        for eqn in equations:
            variables = [atom for atom in eqn.invars if not jx.is_literal(atom)]
            if variables and not eqn.effects and all(var in self.once for var in variables):
                jx.run_equations([eqn], self.once, located=False)
            else:
                self.equations.append(eqn)
        self.turned: dict[int, tuple[jx.Equation, Any]] = {}
        """By place among the equations, products with a matrix that is transposed once, and that matrix."""
        for k, eqn in enumerate(self.equations if runs >= TURNED_FROM else ()):
            known = _is_transposed(eqn) and not jx.is_literal(eqn.invars[1])
            matrix = self.once.get(eqn.invars[1]) if known else None
            if matrix is not None and matrix.nbytes <= TURNED:
                product = jx.with_parameters(eqn, dimension_numbers=(((1,), (0,)), ((), ())))
                self.turned[k] = product, jax.lax.optimization_barrier(_turned(matrix))

        made_by = {eqn.outvars[0]: eqn for eqn in self.equations if len(eqn.outvars) == 1}
        self.summed = {k for k, eqn in enumerate(self.equations) if _is_summed(eqn, made_by)}
        """By place among the equations, sums of products."""

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        env = self.once | dict(zip(jx.argument_vars(self.body), jax.tree.leaves(given), strict=True))
        env |= {var: env[argument] for var, argument in self.given.items()}
        for k, eqn in enumerate(self.equations):
            if k in self.turned:
                product, matrix = self.turned[k]
                env[eqn.outvars[0]] = jx.bind(product, jx.read(env, eqn.invars[0]), matrix)[0]
            elif k in self.summed:
                product = jax.lax.platform_dependent(
                    env[eqn.invars[0]], cpu=jax.lax.optimization_barrier, default=lambda x: x
                )
                env[eqn.outvars[0]] = jx.bind(eqn, product)[0]
            else:
                jx.run_equations([eqn], env, located=False)
        found = [
            jnp.asarray(jx.read(env, atom), jx.type_of(atom).dtype) if jx.is_literal(atom) else env[atom]
            for atom in self.results
        ]
        return jax.tree.unflatten(jax.tree.structure(self.kinds), found)


def _turned(matrix: jax.Array) -> jax.Array:
    """The transpose, laid out in one pass: of `matrix.T` XLA makes two."""
    return jnp.swapaxes(matrix[None], 1, 2)[0]


def _is_transposed(eqn: jx.Equation) -> bool:
    """Whether an equation is the product of a matrix, and the transpose of another."""
    if eqn.primitive.name != "dot_general" or [len(jx.shape_of(atom)) for atom in eqn.invars] != [2, 2]:
        return False
    contracted, batch = eqn.params["dimension_numbers"]
    return [tuple(axes) for axes in contracted] == [(1,), (1,)] and not any(batch)


def _is_summed(eqn: jx.Equation, made_by: Mapping[Any, jx.Equation]) -> bool:
    """Whether an equation is the sum of a large product of two arrays, number by number."""
    if eqn.primitive.name != "reduce_sum" or jx.is_literal(eqn.invars[0]) or eqn.invars[0] not in made_by:
        return False
    large = math.prod(jx.shape_of(eqn.invars[0])) >= SUMMED_FROM
    return large and made_by[eqn.invars[0]].primitive.name == "mul"


def only(chosen: list[bool], tree: Any) -> list[Any]:
    """The leaves that are chosen, `Parts` whole."""
    return [x for is_chosen, x in zip(chosen, jax.tree.leaves(tree, is_leaf=is_parts), strict=True) if is_chosen]


def filled(chosen: list[bool], leaves: list[Any], kinds: Any) -> Any:
    """The tree of which `only` took `leaves`; zeros, which nothing reads, in the place of the others."""
    remaining = iter(leaves)
    whole, structure = jax.tree.flatten(kinds)
    pairs = zip(chosen, whole, strict=True)
    return jax.tree.unflatten(structure, [next(remaining) if c else jnp.zeros(k.shape, k.dtype) for c, k in pairs])
