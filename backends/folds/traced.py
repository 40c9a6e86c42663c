"""A function traced once, for what it returns and what it reads of its arguments, and run as often as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ..shared import is_parts


class Traced:
    """What a function of trees of arrays does, on arguments like some examples.

    What depends on none of them, but on what the function closes over, is computed once: XLA leaves it in loops.
    """

    def __init__(self, function: Callable[..., Any], *examples: Any) -> None:
        """Trace `function`, where what it closes over is known."""
        self.body, self.kinds = jx.trace(function, *examples)
        self.results = jx.outvars(self.body)
        equations = jx.reaching(jx.equations(self.body), self.results)
        atoms = [atom for eqn in equations for atom in eqn.invars]
        read = {atom for atom in [*atoms, *self.results] if not jx.is_literal(atom)}
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

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        env = self.once | dict(zip(jx.argument_vars(self.body), jax.tree.leaves(given), strict=True))
        jx.run_equations(self.equations, env, located=False)
        found = [jx.read(env, atom) for atom in self.results]
        return jax.tree.unflatten(jax.tree.structure(self.kinds), found)


def only(chosen: list[bool], tree: Any) -> list[Any]:
    """The leaves that are chosen, `Parts` whole."""
    return [x for is_chosen, x in zip(chosen, jax.tree.leaves(tree, is_leaf=is_parts), strict=True) if is_chosen]


def filled(chosen: list[bool], leaves: list[Any], kinds: Any) -> Any:
    """The tree of which `only` took `leaves`; zeros, which nothing reads, in the place of the others."""
    remaining = iter(leaves)
    whole, structure = jax.tree.flatten(kinds)
    pairs = zip(chosen, whole, strict=True)
    return jax.tree.unflatten(structure, [next(remaining) if c else jnp.zeros(k.shape, k.dtype) for c, k in pairs])
