"""Cotangents of parameters from one step: a weight operation's by its own product of data and cotangent."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.plan import Pull, Scene
from ...ir.plan.push import step_parts
from ...ir.plan.reverse import pull_back
from ...ir.regions import FORWARD
from ...ir.transition import Transition, Weight
from ..calls import Arrays
from ..reverse import stacked_product


class Pulls:
    """`c (dh'/dp)` with shifts of the sites' outputs in the place of their weights, as reverse mode has it."""

    def __init__(self, transition: Transition) -> None:
        """Prepare for one transition."""
        self.transition, self.region = transition, transition.region(FORWARD)

    def pull(self, op: Pull, scene: Scene) -> tuple[Any, ...]:
        """The cotangents of the operation's parameters."""
        t, own = self.transition, set(op.params)
        places = [k for k, w in enumerate(t.weights) if own.intersection(w.params) and w.value.type.carries_credit]
        weights, states, inputs = jax.lax.stop_gradient([scene.read(values) for values in step_parts(t)])
        of_sites = [weights[t.weights.index(site.weight)] for site in t.sites]

        def after(plain: Arrays, shifts: Arrays) -> tuple[Any, Arrays]:
            every = list(weights)
            for k, x in zip(places, plain, strict=True):
                every[k] = x
            results = jx.evaluate(self.region.body, [*every, *states, *inputs, *of_sites, *shifts])
            return tuple(results[k] for k in t.hidden_places), results

        zeros = [jnp.zeros(site.output.type.shape, site.output.type.dtype) for site in t.sites]
        _, pull, results = jax.vjp(after, [weights[k] for k in places], zeros, has_aux=True)
        plain, sent = pull(tuple(scene.read(op.cotangents)))
        bars: dict[Weight, Any] = {t.weights[k]: x for k, x in zip(places, plain, strict=True)}
        known = dict(zip(self.region.inputs, [*weights, *states, *inputs], strict=False))
        known |= dict(zip(self.region.outputs, results, strict=True))
        for site, cotangent in zip(t.sites, sent, strict=True):
            if site.weight in bars:
                data = None if site.data is None else known[site.data][None]
                bars[site.weight] = bars[site.weight] + stacked_product(site, data, cotangent[None])
        found = pull_back(t, scene.read([p.value for p in t.params]), bars)
        return tuple(found[t.params.index(p)] for p in op.params)
