"""A function traced once, for what it returns and what it reads of its arguments, and run as often as wanted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ...ir import jaxpr as jx


class Traced:
    """What a function of trees of arrays does, on arguments like some examples."""

    def __init__(self, function: Callable[..., Any], *examples: Any) -> None:
        """Trace `function`."""
        self.body, self.kinds = jx.trace(function, *examples)
        self.results = jx.outvars(self.body)
        self.equations = jx.reaching(jx.equations(self.body), self.results)
        atoms = [atom for eqn in self.equations for atom in eqn.invars]
        read = {atom for atom in [*atoms, *self.results] if not jx.is_literal(atom)}
        flags = iter([var in read for var in jx.argument_vars(self.body)])
        self.reads = [[next(flags) for _ in jax.tree.leaves(of)] for of in examples]
        """For each argument and leaf of it, whether anything depends on it."""

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        values = [*jx.consts_of(self.body), *jax.tree.leaves(given)]
        env: dict[Any, Any] = dict(zip(jx.all_invars(self.body), values, strict=True))
        jx.run_equations(self.equations, env, located=False)
        found = [jx.read(env, atom) for atom in self.results]
        return jax.tree.unflatten(jax.tree.structure(self.kinds), found)
