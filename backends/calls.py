"""A planned transition's regions as functions on lists of arrays: what every backend calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from ..ir.operations import with_operations
from ..ir.plan import Plan, Vjp
from ..ir.plan.scene import Arrays
from ..ir.regions import STEP
from ..ir.sources import sources
from ..ir.transition import Region, Transition, Weight
from ..ir.values import Value
from .picked_sums import term_by_term

Bindings: TypeAlias = dict[Value, jax.Array]


class Calls:
    """The regions of one planned transition, called with arrays in the transition's own order."""

    def __init__(self, transition: Transition, *, picked_sums: bool = False) -> None:
        """Prepare to call `transition`'s regions; `picked_sums` says whether with products of picked data term by term.

        Raises EtirError where regions have no bodies.
        """
        if transition.plan is None:
            raise error("no-plan", "the transition has no plan", help="run plan-traces first (etir.plan)")
        bodiless = [region.name for region in transition.regions if region.body is None]
        if bodiless:
            raise error(
                "no-bodies",
                f"the transition was read from text: region '{bodiless[0]}' has no body to run",
                help="emit from the model, not from its printed form",
            )
        self.transition = transition
        self.plan: Plan = transition.plan
        reverse = self.plan.only(Vjp)
        region = transition.region(reverse.region)
        bodies = [with_operations(body) for body in (region.body, transition.region(STEP).body)]
        forward, step = map(term_by_term, bodies) if picked_sums else bodies
        self.forward_region: Region = replace(region, body=forward)
        self.sources = sources(transition, self.forward_region)
        self._run_step = jx.compiled(step)
        self._run_forward = jx.compiled(self.forward_region.body)
        self.hidden_places = transition.hidden_places
        self.credit_places = [k for k, s in enumerate(transition.states) if s.before.type.carries_credit]
        self.learned_places = [k for k, p in enumerate(transition.params) if not p.frozen]
        self.weight_places = {weight: k for k, weight in enumerate(transition.weights)}
        self.site_weights = [self.weight_places[site.weight] for site in transition.sites]
        self.plain_weights = self._plain_weights()

    def model(self, params: Sequence[Any], states: Sequence[Any], inputs: Sequence[Any]) -> tuple[Arrays, Arrays]:
        """The user's step: new states and outputs."""
        results = self._run_step(*params, *states, *inputs)
        count = len(self.transition.states)
        return results[:count], results[count:]

    def weights(self, params: Sequence[jax.Array]) -> Arrays:
        """The prologue: parameters to weights."""
        return jx.evaluate(self.transition.region("weights").body, params)

    def forward(
        self,
        weights: Sequence[jax.Array],
        states: Sequence[jax.Array],
        inputs: Sequence[jax.Array],
        site_weights: Sequence[jax.Array] | None = None,
        shifts: Sequence[Any] | None = None,
    ) -> tuple[Arrays, Arrays, Bindings]:
        """One step: new states, outputs, and the values that the hidden region and the traces read."""
        sites = self.transition.sites
        own = [weights[k] for k in self.site_weights] if site_weights is None else site_weights
        shift = self.no_shifts() if shifts is None else shifts
        region = self.forward_region
        results = self._run_forward(*weights, *states, *inputs, *own, *shift)
        count = len(self.transition.states)
        bindings = dict(zip(region.outputs, results, strict=True))
        bindings |= dict(zip(region.inputs, [*weights, *states, *inputs], strict=False))
        bindings |= {site.weight.value: w for site, w in zip(sites, own, strict=True)}
        return results[:count], results[count : count + len(self.transition.outputs)], bindings

    def no_shifts(self) -> list[Any]:
        """A zero shift for each site."""
        return [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in self.transition.sites]

    def is_credited(self, weight: Weight) -> bool:
        """Whether a derivative by the weight exists."""
        return weight.learns

    def _plain_weights(self) -> list[int]:
        """The places of the weights that the forward region uses outside sites, and that carry credit."""
        body = self.forward_region.body
        variables = jx.argument_vars(body)[: len(self.transition.weights)]
        used = {id(atom) for eqn in jx.equations(body) for atom in eqn.invars}
        used |= {id(atom) for atom in jx.outvars(body)}
        pairs = zip(self.transition.weights, variables, strict=True)
        return [k for k, (w, var) in enumerate(pairs) if id(var) in used and self.is_credited(w)]
