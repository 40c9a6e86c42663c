"""How credit leaves a step, and by which paths it may: what the reading of traces at each step's exit goes by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

import jax

from ...ir import jaxpr as jx
from ...ir.observable import Observable
from ...ir.regions import EXIT, SEEN, SHOWN, make_region
from ...ir.tails import Tail, operands_with
from ...ir.transition import Region, Site, State, Transition
from ...ir.values import Value
from .credit import Credit
from .observables import Paths, observables
from .onward import Onward
from .slicer import Slicer

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
        self._paths = cache(lambda: Paths(transition))
        self.observables = cache(lambda: observables(self._paths()))
        self.whole, self.shown, self.seen = cache(self._whole), cache(self._shown), cache(self._seen)
        self.onward = cache(lambda: Onward(self._paths(), self.observables(), self._steps_on()))
        self._reaching = cache(self._with_credit)

    def _whole(self) -> Region:
        """`exit(..., shifts of sites) -> outputs`: the step's outputs, with the credit that one step sends back.

        What a mixing operation makes of a group's *old* state, or of a site that feeds the group, counts as constant
        where it leads back to the group's new state; all else has credit, so that an upper layer sends it to the one
        below. The outputs are those that carry credit.
        """
        paths = self._paths()
        return self._region(EXIT, _Instant(paths), paths.slicer.shifts, paths.outputs)

    def _shown(self) -> Region:
        """`shown(..., shifts of sites) -> observables`: what is shown, with whatever is held a constant."""
        slicer, results = self._paths().slicer, [o.variable for o in self.observables()]
        chosen = jx.reaching(self._paths().equations, results)
        places = {var: k for k, var in enumerate(slicer.sites)}

        def run(env: dict[Any, Any], shifts: Sequence[Any]) -> list[Any]:
            for eqn in chosen:
                jx.run_equations([eqn], env, _spreading(slicer, env, lambda _, end: jax.lax.stop_gradient(env[end])))
                env.update({v: jax.lax.stop_gradient(env[v]) for v in eqn.outvars if v in slicer.flow.held})
                env.update({v: env[v] + shifts[places[v]] for v in eqn.outvars if v in places})
            return [jx.read(env, atom) for atom in results]

        return self._region(SHOWN, run, slicer.shifts, results)

    def _seen(self) -> Region:
        """`seen(..., shifts of observables) -> outputs`: the outputs, from what reads each observable by its shift."""
        paths, shown = self._paths(), self.observables()
        shifts = tuple(Value(type=o.type, hint="dz") for o in shown)
        return self._region(SEEN, _Seen(paths, shown, paths.outputs), shifts, paths.outputs)

    def _steps_on(self) -> Run:
        """From shifts of observables, and of sites whose outputs no trace is on, to the new hidden states."""
        paths = self._paths()
        return _Seen(paths, self.observables(), paths.hidden, paths.free)

    def reaches(self, site: Site, states: Sequence[State]) -> bool:
        """Whether a step's outputs say anything, in that same step, of a site or of some old states."""
        t, variables = self.transition, jx.argument_vars(self.whole().body)
        first, after = len(t.weights), len(t.weights) + len(t.states) + len(t.inputs)
        own = [variables[after + t.sites.index(site)], *(variables[first + t.states.index(s)] for s in states)]
        return not self._reaching().isdisjoint(own)

    def _with_credit(self) -> set[Any]:
        """The variables of the `exit` region from which credit reaches an output."""
        body = self.whole().body
        return Credit(body).leading_to(jx.outvars(body))

    def _region(self, name: str, run: Run, shifts: Iterable[Value], results: Sequence[Any]) -> Region:
        slicer, made = self._paths().slicer, tuple(shifts)
        variables = [*slicer.flow.prologue.frontier, *slicer.arguments[len(self.transition.params) :]]

        def body(*args: Any) -> list[Any]:
            return run({**slicer.consts, **dict(zip(variables, args, strict=False))}, args[len(variables) :])

        types = [jx.struct_of(v) for v in variables]
        types += [jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in made]
        closed, _ = jx.trace(body, *types)
        inputs = [*(slicer.value_of[v] for v in variables), *made]
        return make_region(name, closed, inputs, [Value(type=jx.type_of(atom), hint="y") for atom in results])


def _spreading(slicer: Slicer, env: dict[Any, Any], still: Callable[[Tail, Any], Any]) -> jx.Hook:
    """A hook by which what reads held values of many positions has the derivative by each reader's own position."""

    def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
        def spread(tail: Tail) -> Any:
            return tail.spread(*tail.taken(env, partial(still, tail)))

        tails = slicer.tails_of(eqn)
        return jx.apply(eqn, operands_with(tails, eqn, operands, spread)) if tails else None

    return hook


class _Instant:
    """Two evaluations of a step side by side: a live one, and one without the credit of old states and of sites."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self.places = {var: k for k, var in enumerate(paths.slicer.sites)}
        self.equations = jx.reaching(paths.equations, paths.outputs)
        self.without = set[Any]()
        """The held values that are made without the credit of old states and of sites."""

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
            jx.run_equations([eqn], env, _spreading(paths.slicer, env, partial(self._still, env, stopped)))
            jx.run_equations([eqn], stopped)
            split.update(var for var in eqn.outvars if var not in held)
        if held:
            if any(value is not env[atom] for atom, value in mixed.items()):
                self.without.update(held)
            jx.run_equations([eqn], mixed)
            for now in (env, stopped):
                now.update({var: mixed[var] for var in held})

    def _still(self, env: dict[Any, Any], stopped: dict[Any, Any], tail: Tail, end: Any) -> Any:
        """An end without the credit that what a tail reads was made without."""
        flow = self.paths.slicer.flow
        return (stopped if self.without.issuperset(v for v in flow.of(tail.read) if v in flow.held) else env)[end]


class _Seen:
    """The step, in which each observable is shifted for what reads it otherwise than position by position.

    Behind the shifts of observables come those of the outputs of some sites.
    """

    def __init__(
        self, paths: Paths, shown: Sequence[Observable], results: Sequence[Any], sites: Sequence[Any] = ()
    ) -> None:
        self.paths, self.results = paths, results
        self.sites = {var: len(shown) + k for k, var in enumerate(sites)}
        self.chosen = jx.reaching(paths.equations, results)
        self.uses: dict[int, dict[Any, int]] = {}
        for k, observable in enumerate(shown):
            for place in observable.uses:
                self.uses.setdefault(place, {})[observable.variable] = k

    def __call__(self, env: dict[Any, Any], shifts: Sequence[Any]) -> list[Any]:
        for eqn in self.chosen:
            here = self.uses.get(self.paths.place[eqn.outvars[0]], {}) if eqn.outvars else {}
            shifted = {atom: jx.read(env, atom) for atom in eqn.invars if not jx.is_literal(atom)}
            shifted |= {var: env[var] + shifts[k] for var, k in here.items()}
            local = [var for var in eqn.outvars if here and self.paths.is_local(var)]
            jx.run_equations([eqn], shifted)
            if local:
                jx.run_equations([eqn], env)
            env.update({var: shifted[var] for var in eqn.outvars if var not in local})
            env.update({var: env[var] + shifts[self.sites[var]] for var in eqn.outvars if var in self.sites})
        results = [jx.read(env, atom) for atom in self.results]
        if self.results is not self.paths.outputs:
            return results
        ends = [self.uses.get(-1 - k, {}) for k in self.paths.output_places]
        return [y + sum(shifts[k] for k in end.values()) if end else y for y, end in zip(results, ends, strict=True)]
