"""The cutting of regions out of the step."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax

from ...coupling.primitives.picked import picked_data
from ...ir import jaxpr as jx
from ...ir.dataflow import Dataflow
from ...ir.draft import Draft, Hook
from ...ir.operations.call import source_of
from ...ir.regions import FORWARD, HIDDEN, OPEN, STEP, WEIGHTS, make_region
from ...ir.tails import Tail, operands_with
from ...ir.transition import Region, Transition
from ...ir.values import Value
from .dataflow import analyse_dataflow

Runner = Callable[[Draft, dict[Any, Any], Sequence[Any]], None]
"""What a region computes: it adds to a draft, reads an environment and the shifts, and leaves the results there."""


class Slicer:
    """The variables of one step region, and the values that stand for them in the regions cut from it."""

    def __init__(self, transition: Transition) -> None:
        """Prepare to cut `transition`, whose sites are marked."""
        self.transition = transition
        self.body = transition.region(STEP).body
        self.flow: Dataflow = analyse_dataflow(transition)
        self.equations = jx.equations(self.body)
        self.arguments = jx.argument_vars(self.body)
        self.consts = dict(zip(jx.all_invars(self.body), jx.consts_of(self.body), strict=False))
        self.results = jx.outvars(self.body)
        count = len(transition.params)
        self.sites = {self.equations[site.equation].outvars[0]: site for site in transition.sites}
        self.site_at = {site.equation: k for k, site in enumerate(transition.sites)}
        self.value_of: dict[Any, Value] = dict(
            zip(self.flow.prologue.frontier, (w.value for w in transition.weights), strict=True)
        )
        self.value_of |= dict(zip(self.arguments[count:], transition.region(STEP).inputs[count:], strict=True))
        self.given = frozenset(self.value_of)
        for var, site in self.sites.items():
            self.value_of[var] = site.output
            if site.data is not None:
                self.value_of.setdefault(self.equations[site.equation].invars[0], site.data)
        self.shifts = tuple(Value(type=site.output.type, hint=f"d{site.output.hint}") for site in transition.sites)
        self.tails = {self.equations[place].outvars[0]: tails for place, tails in self.flow.tails.items()}
        """By the result of an equation, what it reads of held values position by position."""
        self.slices = {flow.scope: self._hidden_slice(flow) for flow in self._flows_of(transition)}
        self.records = self._records()

    def _flows_of(self, transition: Transition) -> list[Dataflow]:
        """The data-flow of each scope that the transition has."""
        return [self.flow, *([analyse_dataflow(transition, OPEN)] if transition.open is not None else [])]

    def weights(self) -> Region:
        """The prologue."""
        chosen = [eqn for k, eqn in enumerate(self.equations) if k in self.flow.prologue.equations]
        frontier = self.flow.prologue.frontier
        chosen = jx.reaching([*self._constants_of(chosen), *chosen], frontier)
        params = self.arguments[: len(self.transition.params)]
        draft = Draft(self.body, params)
        env = draft.environment(params)
        draft.run(chosen, env)
        body = draft.close(env, frontier)
        values = [param.value for param in self.transition.params]
        return make_region(WEIGHTS, body, values, [weight.value for weight in self.transition.weights])

    def _constants_of(self, chosen: list[Any]) -> list[Any]:
        """The equations that depend on nothing at all: the prologue may read their results."""
        known = set(self.consts)
        found: list[Any] = []
        for eqn in self.equations:
            if all(jx.is_literal(a) or a in known for a in eqn.invars) and not eqn.effects:
                known.update(eqn.outvars)
                found.append(eqn)
        return found

    def forward(self) -> Region:
        """The step after the prologue, with shifts and records."""
        return self.stepping(FORWARD, self._run_forward)

    def stepping(self, name: str, run: Runner) -> Region:
        """A region with the signature of `forward`."""
        variables = [*self.flow.prologue.frontier, *self.arguments[len(self.transition.params) :]]
        site_weights = [Value(type=s.weight.value.type, hint=s.weight.value.hint) for s in self.transition.sites]
        extra = [self.equations[s.equation].invars[-1] for s in self.transition.sites]
        keys = [(site.equation, "weight") for site in self.transition.sites]
        results = [*self.results, *self.records]
        body = self._drafted([*variables, *keys], run, results, [*variables, *extra])
        step = self.transition.region(STEP)
        outputs = [*step.outputs, *(self.value_of[var] for var in self.records)]
        inputs = [*(self.value_of[v] for v in variables), *site_weights, *self.shifts]
        return make_region(name, body, inputs, outputs)

    def _run_forward(self, draft: Draft, env: dict[Any, Any], shifts: Sequence[Any]) -> None:
        rest = [eqn for k, eqn in enumerate(self.equations) if k not in self.flow.prologue.equations]
        draft.run(jx.reaching(rest, [*self.results, *self.records]), env, self.shifting(draft, shifts, env))

    def shifting(self, draft: Draft, shifts: Sequence[Any], env: dict[Any, Any]) -> Hook:
        """A hook that gives each site the weight that `env` holds for it, and adds its shift to its output."""

        def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
            site = self.sites.get(eqn.outvars[0]) if eqn.outvars else None
            if site is None:
                return None
            weight = env.get((site.equation, "weight"), operands[-1])
            (output,) = draft.copy(eqn, [*operands[:-1], weight])
            return [draft.call(operator.add, output, shifts[self.site_at[site.equation]], of=eqn)]

        return hook

    def tails_of(self, eqn: Any) -> Sequence[Tail]:
        """What an equation reads of held values position by position."""
        return self.tails.get(eqn.outvars[0], ()) if eqn.outvars else ()

    def spreading(self, draft: Draft, env: dict[Any, Any], still: Callable[[Any], Any], then: Hook) -> Hook:
        """A hook by which what reads held values of many positions has the derivative by each reader's own position.

        `still` has the value of an end of theirs without the credit that is to be kept.
        """

        def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
            def spread(tail: Tail) -> Any:
                return draft.call(tail.spread, *tail.taken(env, still), of=eqn)

            tails = self.tails_of(eqn)
            return draft.copy(eqn, operands_with(tails, eqn, operands, spread)) if tails else then(eqn, operands)

        return hook

    def hidden(self, scope: str = HIDDEN) -> Region:
        """What lies between hidden states, sites and new hidden states, what a scope holds held."""
        equations, needed = self.slices[scope]
        states = [self.arguments[len(self.transition.params) + k] for k in self.transition.hidden_places]
        after = [self.results[k] for k in self.transition.hidden_places]
        needs = [var for var in needed if var not in states]

        def run(draft: Draft, env: dict[Any, Any], shifts: Sequence[Any]) -> None:
            for var, site in self.sites.items():
                if var in env:
                    eqn, shift = self.equations[site.equation], shifts[self.site_at[site.equation]]
                    env[var] = draft.call(operator.add, env[var], shift, of=eqn)
            held, hook = {var: env[var] for var in needs}, self.shifting(draft, shifts, env)
            for eqn in equations:
                still = lambda end: draft.call(jax.lax.stop_gradient, env[end])  # noqa: E731
                draft.run([eqn], env, self.spreading(draft, env, still, hook) if scope == HIDDEN else hook)
                env.update({var: held[var] for var in eqn.outvars if var in held})

        body = self._drafted([*states, *needs], run, after)
        values = [*(self.value_of[v] for v in (*states, *needs)), *self.shifts]
        return make_region(scope, body, values, [state.after for state in self.transition.hidden])

    def _hidden_slice(self, flow: Dataflow) -> tuple[list[Any], list[Any]]:
        """The equations of a hidden region, and the variables that they, or its results, take from outside."""
        wanted: set[Any] = {
            self.results[k] for k in self.transition.hidden_places if not jx.is_literal(self.results[k])
        }
        chosen: list[Any] = []
        made: set[Any] = set()
        for k, eqn in reversed(list(enumerate(self.equations))):
            flowing = [var for var in eqn.outvars if var in wanted and _flows(flow, var)]
            if flowing and k not in self.flow.prologue.equations:
                chosen.append(eqn)
                made.update(flowing)
                wanted.update(atom for atom in eqn.invars if not jx.is_literal(atom))
                wanted.update(atom for tail in flow.tails.get(k, ()) for atom in tail.operands)
        order: dict[Any, int] = {
            var: k for k, var in enumerate([*self.arguments, *(v for e in self.equations for v in e.outvars)])
        }
        needs = sorted((var for var in wanted - made if var not in self.consts), key=order.__getitem__)
        return chosen[::-1], needs

    def _records(self) -> list[Any]:
        """Variables that the forward region hands out: sites' data, what they are made of, the hidden regions' needs.

        Data are made of what they were unfolded from, or picked of.
        """
        data = [self.equations[s.equation].invars[0] for s in self.transition.sites if s.data is not None]
        needed = [var for _, needs in self.slices.values() for var in needs]
        producers = jx.Producers(self.body)
        found = [source_of(self.equations[s.equation], producers) for s in self.transition.sites]
        sources = [source.data for source in found if source is not None and not jx.is_literal(source.data)]
        sources += [picked.array for picked in picked_data(self.body, data).values()]
        wanted = [var for var in dict.fromkeys([*data, *sources, *needed]) if var not in self.given]
        for var in wanted:
            self.value_of.setdefault(var, Value(type=jx.type_of(var), hint="r"))
        return wanted

    def _drafted(
        self, keys: Sequence[Any], run: Runner, results: Sequence[Any], like: Sequence[Any] | None = None
    ) -> Any:
        """The jaxpr of `run` on an environment with these keys, of the types of the variables in `like`, and shifts."""
        draft = Draft(self.body, [*(keys if like is None else like), *self.sites])
        env = draft.environment(keys)
        run(draft, env, draft.arguments[len(keys) :])
        return draft.close(env, results)


def _flows(flow: Dataflow, var: Any) -> bool:
    """Whether credit from a state or another site passes through the equation that makes `var`."""
    return any(source is not var for source in flow.of(var))
