"""How what a step shows comes to hidden states within that step: a linear map, and the slopes that it is made with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from ...coupling.primitives import equation_couplings
from ...ir import jaxpr as jx
from ...ir.observable import Observable
from ...ir.regions import ONWARD, SLOPES, make_region
from ...ir.transition import Group, Region, Site
from ...ir.types import TensorType
from ...ir.values import Value
from .multiples import Multiples
from .observables import Paths

Run = Callable[[dict[Any, Any], Sequence[Any]], list[Any]]


class Onward:
    """Reverse mode from new hidden states to what the step shows, taken apart by what it depends on.

    What it multiplies cotangents with are weights, or *slopes*: values that differ from step to step. The region
    `slopes` computes these at a step; `onward` is the rest, which takes them from anywhere, means of them included.
    What follows each other element by element, switches included, has one slope in all: its derivative.
    Shown are the observables, then the outputs of sites that no trace is on.
    """

    def __init__(self, paths: Paths, observables: Sequence[Observable], run: Run) -> None:
        """Prepare for one step; `run` goes from shifts of what is shown to the new hidden states."""
        self.paths, self.run = paths, run
        self.shown: tuple[Observable | Site, ...] = (*observables, *(paths.slicer.sites[v] for v in paths.free))
        slicer = paths.slicer
        self.variables = [*slicer.flow.prologue.frontier, *slicer.arguments[len(paths.transition.params) :]]
        self.reached, self.regions = cache(self._reached), cache(self._regions)
        self.kinds = [s.type if isinstance(s, Observable) else s.output.type for s in self.shown]

    def _reached(self) -> dict[Observable | Site, set[Group]]:
        """The groups whose new states each of what is shown comes to."""
        t, structs = self.paths.transition, [jx.struct_of(v) for v in self.variables]
        shifts = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in self.kinds]
        body, _ = jx.trace(
            lambda *args: self._new_states(args[: len(structs)], args[len(structs) :]), *structs, *shifts
        )
        of: dict[Any, set[int]] = {var: {k} for k, var in enumerate(jx.argument_vars(body)[len(self.variables) :])}
        for eqn in jx.equations(body):
            for var, couplings in zip(eqn.outvars, equation_couplings(eqn), strict=True):
                pairs = zip(eqn.invars, couplings, strict=True)
                found = [of[a] for a, c in pairs if c is not None and not jx.is_literal(a) and a in of]
                if found:
                    of[var] = set[int]().union(*found)
        home = {state: group for group in t.groups for state in group.states}
        ends = [(home.get(s), of.get(a, set[int]()) if not jx.is_literal(a) else set[int]())
                for s, a in zip(t.hidden, jx.outvars(body), strict=True)]  # fmt: skip
        return {s: {g for g, known in ends if g is not None and k in known} for k, s in enumerate(self.shown)}

    def _new_states(self, arguments: Sequence[Any], shifts: Sequence[Any]) -> list[Any]:
        env = {**self.paths.slicer.consts, **dict(zip(self.variables, arguments, strict=True))}
        return [jnp.asarray(x) for x in self.run(env, shifts)]

    def _regions(self) -> tuple[Region, Region]:
        """`slopes(weights, states, inputs) -> slopes` and `onward(slopes, weights, cotangents) -> cotangents`."""
        t, count = self.paths.transition, len(self.variables)
        bars = [Value(type=s.before.type, hint=f"{s.before.hint}_bar") for s in t.hidden]

        def pulled(*arguments: Any) -> Any:
            zeros = [jnp.zeros(kind.shape, kind.dtype) for kind in self.kinds]
            _, pull = jax.vjp(lambda shifts: self._new_states(arguments[:count], shifts), zeros)
            return pull(list(arguments[count:]))[0]

        structs = [
            *map(jx.struct_of, self.variables),
            *(jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in bars),
        ]
        body, _ = jx.trace(pulled, *structs)
        parts = _Parts(body, len(t.weights), count)
        values = [Value(type=parts.kind(var), hint="slope") for var in parts.slopes]
        given = [self.paths.slicer.value_of[v] for v in self.variables]
        slopes = make_region(SLOPES, parts.slopes_body(structs[:count]), given, values)
        outputs = [Value(type=kind, hint="z_bar") for kind in self.kinds]
        weights = [Value(type=w.value.type, hint=w.value.hint) for w in t.weights]
        inputs = [*(Value(type=v.type, hint=v.hint) for v in values), *weights, *bars]
        return slopes, make_region(ONWARD, parts.linear_body(structs), inputs, outputs)


class _Parts:
    """A linear jaxpr in its last arguments, apart: what depends on these, and what of the rest that reads.

    Its slopes are the moving factors of element-wise stretches, as pairs of an end and a beginning, and what else is
    moving and read.
    """

    def __init__(self, body: Any, weights: int, given: int) -> None:
        self.body, self.weights, self.given = body, weights, given
        arguments = jx.argument_vars(body)
        self.arguments = arguments
        self.equations = jx.reaching(jx.equations(body), jx.outvars(body))
        linear, moving = set(arguments[given:]), set(arguments[weights:given])
        self.linear: list[Any] = []
        self.others: list[Any] = []
        for eqn in self.equations:
            atoms = {a for a in eqn.invars if not jx.is_literal(a)}
            if atoms & linear:
                linear.update(eqn.outvars)
                self.linear.append(eqn)
            else:
                self.others.append(eqn)
                if atoms & moving:
                    moving.update(eqn.outvars)
        self.moving = moving
        self.multiples = Multiples(self.linear, linear, moving)
        self.mixing = [eqn for eqn in self.linear if not self.multiples.makes(eqn)]
        read = [a for eqn in self.mixing for a in eqn.invars] + jx.outvars(body)
        ends = list(dict.fromkeys(a for a in read if not jx.is_literal(a)))
        factors = [(a, b) for a in ends if a in linear for b, moves in self.multiples.beginnings(a).items() if moves]
        self.slopes: list[Any] = [*factors, *(a for a in ends if a in moving)]

    def _consts(self) -> dict[Any, Any]:
        return dict(zip(jx.all_invars(self.body), jx.consts_of(self.body), strict=False))

    def kind(self, slope: Any) -> TensorType:
        """The type that a slope is given as."""
        return jx.type_of(slope[0] if isinstance(slope, tuple) else slope)

    def slopes_body(self, structs: Sequence[Any]) -> Any:
        """From weights, states and inputs to the slopes."""
        chosen = jx.reaching(self.others, [a for eqn in self.linear for a in eqn.invars])

        def run(*arguments: Any) -> list[Any]:
            env = self._consts() | dict(zip(self.arguments, arguments, strict=False))
            jx.run_equations(chosen, env)
            factors = self.multiples.on(env)
            return [factors(*slope) if isinstance(slope, tuple) else env[slope] for slope in self.slopes]

        return jx.trace(run, *structs)[0]

    def linear_body(self, structs: Sequence[Any]) -> Any:
        """From slopes, weights and cotangents to cotangents."""
        read = [*(a for eqn in self.linear for a in eqn.invars), *jx.outvars(self.body)]
        still = jx.reaching([eqn for eqn in self.others if self.moving.isdisjoint(eqn.outvars)], read)
        count = len(self.slopes)

        def run(*arguments: Any) -> list[Any]:
            slopes = dict(zip(self.slopes, arguments[:count], strict=True))
            env = self._consts() | slopes
            keys = [*self.arguments[: self.weights], *self.arguments[self.given :]]
            env |= dict(zip(keys, arguments[count:], strict=True))
            jx.run_equations(still, env)
            factors = self.multiples.on(env)

            def part(end: Any, beginning: Any) -> Any:
                slope = slopes[end, beginning] if (end, beginning) in slopes else factors(end, beginning)
                return slope * env[beginning].astype(slope.dtype)

            def value(atom: Any) -> Any:
                if jx.is_literal(atom) or atom in env:
                    return jx.read(env, atom)
                env[atom] = sum(part(atom, beginning) for beginning in self.multiples.beginnings(atom))
                return env[atom]

            for eqn in self.mixing:
                env.update(zip(eqn.outvars, jx.apply(eqn, [value(a) for a in eqn.invars]), strict=True))
            return [value(atom) for atom in jx.outvars(self.body)]

        kinds = [self.kind(var) for var in self.slopes]
        slopes = [jax.ShapeDtypeStruct(kind.shape, kind.dtype) for kind in kinds]
        types = [*slopes, *structs[: self.weights], *structs[self.given :]]
        return jx.trace(run, *types)[0]
