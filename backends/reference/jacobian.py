"""`D` and `f`: full Jacobians of the hidden region by reverse mode, which works through custom derivative rules."""

from __future__ import annotations

import jax
import numpy as np

from ...ir import jaxpr as jx
from ...ir.plan import Jacobian, Sensitivity
from ...ir.transition import Group
from ..calls import Arrays
from .scene import Scene, group_space, output_space


def emit_jacobian(op: Jacobian, scene: Scene) -> tuple[jax.Array]:
    """`dh'/dh`, of which the diagonal is kept for each pair of states: `[group, group]`."""
    space, hidden = group_space(op.group), scene.transition.hidden
    arguments = _arguments(scene)
    places = [hidden.index(state) for state in op.group.states]

    def after(vector: jax.Array) -> jax.Array:
        replaced = dict(zip(places, space.split(vector), strict=True))
        return space.join(_new_states(scene, op.group, [replaced.get(k, x) for k, x in enumerate(arguments)]))

    full = jax.jacrev(after)(space.join([arguments[k] for k in places]))
    return (full * np.equal.outer(space.positions, space.positions),)


def emit_sensitivity(op: Sensitivity, scene: Scene) -> tuple[jax.Array]:
    """`dh'/dy`, by a shift of the site's output: `[group, output]`."""
    group, site = op.association.group, op.association.site
    space, output = group_space(group), output_space(op.association)
    arguments = _arguments(scene)
    sites = scene.transition.sites
    place = len(arguments) - len(sites) + sites.index(site)

    def after(vector: jax.Array) -> jax.Array:
        (shift,) = output.split(vector)
        return space.join(_new_states(scene, group, [*arguments[:place], shift, *arguments[place + 1 :]]))

    return (jax.jacrev(after)(output.join([arguments[place]])),)


def _arguments(scene: Scene) -> Arrays:
    """The hidden region's arguments: hidden states, what else it needs, a zero shift for each site."""
    return [*scene.calls.hidden_arguments(scene.bindings), *scene.calls.no_shifts()]


def _new_states(scene: Scene, group: Group, arguments: Arrays) -> Arrays:
    """The group's new states, as the hidden region computes them."""
    results = jx.evaluate(scene.calls.hidden_region.body, arguments)
    return [results[scene.transition.hidden.index(state)] for state in group.states]
