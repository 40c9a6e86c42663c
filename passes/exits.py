"""How credit leaves a step, and by which paths it may: what the reading of traces at each step's exit goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any

import jax

from ..coupling.primitives import equation_couplings
from ..ir import jaxpr as jx
from ..ir.regions import EXIT, SEEN, SHOWN, make_region
from ..ir.observable import Observable
from ..ir.transition import Group, Region, Site, Transition
from ..ir.values import Value
from .observables import Paths, observables

Run = Callable[[dict[Any, Any], Sequence[Any]], list[Any]]
"""What a region computes: from an environment and the shifts to the region's results."""


class Exits:
    """The regions that are pulled back at a step's exit, each made when first asked for.

    All take weights, states, inputs and shifts. `D` and `f` leave out what passes through mixing operations into the
    states that they are of, and so do these.
    """

    def __init__(self, transition: Transition) -> None:
        """Prepare for `transition`, whose associations are classified."""
        self.transition = transition

    @cached_property
    def _paths(self) -> Paths:
        return Paths(self.transition)

    @cached_property
    def observables(self) -> tuple[Observable, ...]:
        """What the step shows of each group that has traces, group by group."""
        return observables(self._paths)

    @cached_property
    def whole(self) -> Region:
        """`exit(..., shifts of sites) -> outputs`: the step's outputs, with the credit that one step sends back.

        What a mixing operation makes of a group's *old* state, or of a site that feeds the group, counts as constant
        where it leads back to the group's new state; all else has credit, so that an upper layer sends it to the one
        below. The outputs are those that carry credit.
        """
        return self._region(EXIT, _Instant(self._paths), self._paths.slicer.shifts, self._paths.outputs)

    @cached_property
    def shown(self) -> Region:
        """`shown(..., shifts of sites) -> observables`: what is shown, with whatever is held a constant."""
        slicer, results = self._paths.slicer, [o.variable for o in self.observables]
        chosen = jx.reaching(self._paths.equations, results)
        places = {var: k for k, var in enumerate(slicer.sites)}

        def run(env: dict[Any, Any], shifts: Sequence[Any]) -> list[Any]:
            for eqn in chosen:
                jx.run_equations([eqn], env)
                env.update({v: jax.lax.stop_gradient(env[v]) for v in eqn.outvars if v in slicer.flow.held})
                env.update({v: env[v] + shifts[places[v]] for v in eqn.outvars if v in places})
            return [jx.read(env, atom) for atom in results]

        return self._region(SHOWN, run, slicer.shifts, results)

    @cached_property
    def seen(self) -> Region:
        """`seen(..., shifts of observables) -> outputs`: the outputs, from what reads each observable by its shift."""
        shifts = tuple(Value(type=o.type, hint="dz") for o in self.observables)
        return self._region(SEEN, _Seen(self._paths, self.observables), shifts, self._paths.outputs)

    def reaches(self, site: Site, group: Group) -> bool:
        """Whether a step's outputs say anything, in that same step, of a site or of the old states of its group."""
        body, t = self.whole.body, self.transition
        variables = jx.argument_vars(body)
        first, after = len(t.weights), len(t.weights) + len(t.states) + len(t.inputs)
        reached = {variables[first + t.states.index(state)] for state in group.states}
        reached.add(variables[after + t.sites.index(site)])
        for eqn in jx.equations(body):
            for var, couplings in zip(eqn.outvars, equation_couplings(eqn), strict=True):
                pairs = zip(eqn.invars, couplings, strict=True)
                if any(c is not None and not jx.is_literal(a) and a in reached for a, c in pairs):
                    reached.add(var)
        return any(not jx.is_literal(atom) and atom in reached for atom in jx.outvars(body))

    def _region(self, name: str, run: Run, shifts: Iterable[Value], results: Sequence[Any]) -> Region:
        slicer, made = self._paths.slicer, tuple(shifts)
        variables = [*slicer.flow.prologue.frontier, *slicer.arguments[len(self.transition.params) :]]

        def body(*args: Any) -> list[Any]:
            return run({**slicer.consts, **dict(zip(variables, args, strict=False))}, args[len(variables) :])

        types = [jx.struct_of(v) for v in variables]
        types += [jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in made]
        closed, _ = jx.trace(body, *types)
        inputs = [*(slicer.value_of[v] for v in variables), *made]
        return make_region(name, closed, inputs, [Value(type=jx.type_of(atom), hint="y") for atom in results])


class _Instant:
    """Two evaluations of a step side by side: a live one, and one without the credit of old states and of sites."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.places = {var: k for k, var in enumerate(paths.slicer.sites)}
        self.equations = jx.reaching(paths.equations, paths.outputs)

    def __call__(self, env: dict[Any, Any], shifts: Sequence[Any]) -> list[Any]:
        paths, split = self.paths, set(self.paths.old)
        stopped = env | {var: jax.lax.stop_gradient(env[var]) for var in split}
        for eqn in self.equations:
            if any(not jx.is_literal(atom) and atom in split for atom in eqn.invars):
                self._apart(eqn, env, stopped, split)
            else:
                jx.run_equations([eqn], env)
                stopped.update({var: env[var] for var in eqn.outvars})
            for var in eqn.outvars:
                if var in paths.fed:
                    env[var] = env[var] + shifts[self.places[var]]
                    split.add(var)
                if var in paths.news:
                    stopped[var] = env[var]
                    split.discard(var)
        return [jx.read(env, atom) for atom in paths.outputs]

    def _apart(self, eqn: Any, env: dict[Any, Any], stopped: dict[Any, Any], split: set[Any]) -> None:
        """Evaluate an equation whose operands differ between the two evaluations."""
        paths = self.paths
        held = [var for var in eqn.outvars if var in paths.slicer.flow.held]
        mixed = {
            atom: (stopped if atom in split and paths.recurs(atom, held) else env)[atom]
            for atom in eqn.invars
            if not jx.is_literal(atom)
        }
        if len(held) < len(eqn.outvars):
            jx.run_equations([eqn], env)
            jx.run_equations([eqn], stopped)
            split.update(var for var in eqn.outvars if var not in held)
        if held:
            jx.run_equations([eqn], mixed)
            for now in (env, stopped):
                now.update({var: mixed[var] for var in held})


class _Seen:
    """The step, in which each observable is shifted for what reads it otherwise than position by position."""

    def __init__(self, paths: Paths, shown: Sequence[Observable]) -> None:
        self.paths = paths
        self.chosen = jx.reaching(paths.equations, paths.outputs)
        self.uses: dict[int, dict[Any, int]] = {}
        for k, observable in enumerate(shown):
            for place in observable.uses:
                self.uses.setdefault(place, {})[observable.variable] = k

    def __call__(self, env: dict[Any, Any], shifts: Sequence[Any]) -> list[Any]:
        for eqn in self.chosen:
            here = self.uses.get(self.paths.place[eqn.outvars[0]], {}) if eqn.outvars else {}
            shifted = {atom: jx.read(env, atom) for atom in eqn.invars if not jx.is_literal(atom)}
            shifted |= {var: env[var] + shifts[k] for var, k in here.items()}
            local = [var for var in eqn.outvars if here and self.paths.group_of(var) is not None]
            jx.run_equations([eqn], shifted)
            if local:
                jx.run_equations([eqn], env)
            env.update({var: shifted[var] for var in eqn.outvars if var not in local})
        results = [jx.read(env, atom) for atom in self.paths.outputs]
        ends = [self.uses.get(-1 - k, {}) for k in self.paths.output_places]
        return [y + sum(shifts[k] for k in end.values()) if end else y for y, end in zip(results, ends, strict=True)]
