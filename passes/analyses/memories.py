"""How long hidden groups remember: which of their factors stand still, and what these are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ...ir import jaxpr as jx
from ...ir.plan.jacobian import hidden_operands
from ...ir.regions import WEIGHTS
from ...ir.transition import Group, Site, Transition
from ...ir.values import Value

Pair = tuple[int, int]


class Standing(IntEnum):
    """What a factor depends on."""

    CONSTANT = 0
    """Nothing: it is written in the step."""
    LEARNT = 1
    """Parameters alone: it is the same at every step between their updates."""
    MOVING = 2
    """States or inputs."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Factors:
    """The derivatives of a group's new states by its old ones."""

    pairs: dict[Pair, Standing]
    values: dict[Pair, npt.NDArray[Any]]
    """Those that do not move, at the example values of the parameters; nothing where there are none."""


class Memories:
    """The groups of one transition, asked how they carry what they hold from step to step."""

    def __init__(self, transition: Transition) -> None:
        """Prepare for `transition`, whose associations are classified."""
        self.transition = transition
        self._of = cache(self._factors)
        self._weights = cache(self._example_weights)

    def standing(self, group: Group) -> Standing:
        """That of the factor of a group that moves most."""
        return max(self._of(group).pairs.values(), default=Standing.CONSTANT)

    def moves(self, group: Group) -> bool:
        """Whether what carries a group's states differs between steps."""
        return self.standing(group) is Standing.MOVING

    def matrices(self, group: Group) -> npt.NDArray[Any] | None:
        """`D` of a group at each position, `[positions, states, states]`; None where it moves, or has no example."""
        known, size = self._of(group), len(group.states)
        if self.standing(group) is Standing.MOVING or len(known.values) < len(known.pairs):
            return None
        found = np.zeros((int(np.prod(group.shape)), size, size), np.result_type(float, *known.values.values()))
        for (of, on), values in known.values.items():
            found[:, of, on] = np.ravel(values)
        return found

    def factors(self, group: Group) -> npt.NDArray[Any]:
        """The factors by which what a group holds shrinks in a step, of those that do not move: eigenvalues of `D`."""
        matrices = self.matrices(group)
        if matrices is not None and matrices.shape[-1] > 1:
            return np.linalg.eigvals(matrices).ravel()
        own = [np.ravel(v) for (of, on), v in self._of(group).values.items() if of == on]
        return np.concatenate(own) if own else np.zeros(0)

    def _factors(self, group: Group) -> _Factors:
        t, region = self.transition, self.transition.region(group.region)
        values = hidden_operands(t, group.region)
        pairs = [
            (i, j)
            for i, of in enumerate(group.states)
            for j, on in enumerate(group.states)
            if (c := group.dependence(of, on)) is not None and c.has_diagonal
        ]
        olds = [values.index(state.before) for state in group.states]
        results = [t.hidden.index(state) for state in group.states]

        def pulled(*arguments: Any) -> list[Any]:
            shifts = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in t.sites]

            def run(old: list[Any]) -> list[Any]:
                now = list(arguments)
                for place, x in zip(olds, old, strict=True):
                    now[place] = x
                found = jx.evaluate(region.body, [*now, *shifts])
                return [found[k] for k in results]

            out, pull = jax.vjp(run, [arguments[k] for k in olds])
            ones = [[jnp.full_like(y, k == i) for k, y in enumerate(out)] for i in range(len(out))]
            rows = [pull(row)[0] for row in ones]
            return [rows[i][j] for i, j in pairs]

        learnt = {w.value for w in t.weights} | {site.output for site in self._plain_sites}
        found = self._examined(pulled, values, learnt)
        return _Factors(
            pairs={pair: level for pair, (level, _) in zip(pairs, found, strict=True)},
            values={pair: x for pair, (_, x) in zip(pairs, found, strict=True) if x is not None},
        )

    def _examined(
        self, function: Any, values: Sequence[Value], weights: set[Value]
    ) -> list[tuple[Standing, npt.NDArray[Any] | None]]:
        """For each result of a function of some values its standing, and its value where that can be known."""
        structs = [jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in values]
        body, _ = jx.trace(function, *structs)
        arguments = jx.argument_vars(body)
        levels: dict[Any, Standing] = {
            var: Standing.LEARNT if value in weights else Standing.MOVING
            for var, value in zip(arguments, values, strict=True)
        }
        for eqn in jx.equations(body):
            level = max((_level(levels, atom) for atom in eqn.invars), default=Standing.CONSTANT)
            levels.update(dict.fromkeys(eqn.outvars, level))
        results = jx.outvars(body)
        still = [atom for atom in results if _level(levels, atom) is not Standing.MOVING]
        env = self._evaluated(body, still, dict(zip(arguments, values, strict=True)))
        standings = [_level(levels, atom) for atom in results]
        return [
            (level, None if env is None or level is Standing.MOVING else np.asarray(jx.read(env, atom)))
            for level, atom in zip(standings, results, strict=True)
        ]

    def _evaluated(self, body: Any, atoms: Iterable[Any], values: dict[Any, Value]) -> dict[Any, Any] | None:
        """The environment in which some results are known that no argument but weights goes into."""
        weights, wanted = self._weights(), list(atoms)
        chosen = jx.reaching(jx.equations(body), wanted)
        read = {a for eqn in chosen for a in eqn.invars if not jx.is_literal(a)} | {
            a for a in wanted if not jx.is_literal(a)
        }
        needed = [var for var in values if var in read]
        if any(values[var] not in weights for var in needed):
            return None
        env = dict(zip(jx.all_invars(body), jx.consts_of(body), strict=False))
        env |= {var: weights[values[var]] for var in needed}
        with jax.ensure_compile_time_eval():
            jx.run_equations(chosen, env, located=False)
        return env

    def _example_weights(self) -> dict[Value, Any]:
        """The weights, from the example values of the parameters; nothing where some parameter has none."""
        t = self.transition
        examples = [p.example for p in t.params]
        if any(x is None for x in examples):
            return {}
        with jax.ensure_compile_time_eval():
            found = jx.evaluate(t.region(WEIGHTS).body, [jnp.asarray(x) for x in examples])
        of = {w.value: x for w, x in zip(t.weights, found, strict=True)}
        return of | {site.output: of[site.weight.value] for site in self._plain_sites}

    @property
    def _plain_sites(self) -> list[Site]:
        """The sites whose output is their weight."""
        sites = (site for site in self.transition.sites if site.data is None)
        return [site for site in sites if site.expression.operands == (site.expression.output,)]


def _level(levels: dict[Any, Standing], atom: Any) -> Standing:
    return Standing.CONSTANT if jx.is_literal(atom) else levels.get(atom, Standing.CONSTANT)
