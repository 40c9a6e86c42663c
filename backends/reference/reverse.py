"""Reverse mode through a window, what the traces add to it, and the way back to the parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...ir.plan import AdvanceFull, Contract, Pullback, Vjp
from ...ir.transition import Param, Region
from ..calls import Arrays, Calls
from .coordinates import Space
from .factored import product
from .scene import Scene, group_space, hidden_space, step, weight_space


def emit_vjp(op: Vjp, scene: Scene) -> tuple[Any, ...]:
    """The cotangents of the entering hidden states, then of the parameters; None for one that carries no credit."""
    calls, transition = scene.calls, scene.transition
    chosen = [k for k, param in enumerate(transition.params) if param.value.type.carries_credit]

    def run(hidden: Arrays, selected: Arrays) -> tuple[Arrays, Arrays]:
        params, states = list(scene.params), list(scene.states)
        for k, x in zip(chosen, selected, strict=True):
            params[k] = x
        for k, x in zip(calls.hidden_places, hidden, strict=True):
            states[k] = x
        return window_results(calls, calls.transition.region(op.region), params, states, scene.inputs, scene.steps)

    _, pull = jax.vjp(run, scene.hidden, [scene.params[k] for k in chosen])
    hidden, selected = pull(scene.result_cotangents)
    by_place = dict(zip(chosen, selected, strict=True))
    return *hidden, *(by_place.get(k) for k in range(len(transition.params)))


def window_results(
    calls: Calls, region: Region, params: Arrays, states: Arrays, inputs: Arrays, steps: int
) -> tuple[Arrays, Arrays]:
    """A window's new states and its outputs, `[time, ...]`, by a region with the signature of `forward`."""
    weights = calls.weights(params)
    return jax.lax.scan(lambda now, x: step(calls, region, weights, now, x), states, inputs, length=steps)


def emit_contract(op: Contract, scene: Scene) -> tuple[jax.Array, ...]:
    """`<h_bar, E>`: the cotangent of the association's weight, or of the parameter that an influence is of."""
    if op.association is None:
        states, target = hidden_space(scene.transition), Space((influenced(op, scene).value.type,))
    else:
        states, target = group_space(op.association.group), weight_space(op.association)
    cotangents = states.join_cotangents([scene.values[value] for value in op.cotangents])
    return tuple(target.split_cotangents(cotangents @ _matrix(op, scene)))


def _matrix(op: Contract, scene: Scene) -> jax.Array:
    """The trace as one matrix."""
    held = [scene.values[value] for value in op.trace]
    if op.association is None or len(held) == 1:
        return held[0]
    rows, columns = held
    weights = scene.calls.weights(scene.params)
    return product(op.association, (rows, columns), weights[scene.calls.weight_places[op.association.site.weight]])


def influenced(op: Contract, scene: Scene) -> Param:
    """The parameter whose influence matrix is contracted."""
    plan = scene.calls.plan
    return next(o.param for o in plan.operations if isinstance(o, AdvanceFull) and o.trace is op.trace[0])


def emit_pullback(op: Pullback, scene: Scene) -> tuple[Any, ...]:
    """The gradient of every parameter; None for one that carries no credit."""
    transition = scene.transition
    grads: dict[Param, Any] = dict(zip(transition.params, (scene.values[v] for v in op.reverse), strict=True))
    on_weights: dict[int, jax.Array] = {}
    for value in op.contributions:
        contract = next(o for o in scene.calls.plan.operations if value in o.results)
        assert isinstance(contract, Contract)
        if contract.association is None:
            param = influenced(contract, scene)
            grads[param] = grads[param] + scene.values[value]
        else:
            place = scene.calls.weight_places[contract.association.site.weight]
            on_weights[place] = on_weights.get(place, jnp.zeros(())) + scene.values[value]
    for param, more in _through_prologue(on_weights, scene).items():
        if param in op.positional:
            grads[param] = grads[param] + more
    return tuple(grads.values())


def _through_prologue(on_weights: dict[int, jax.Array], scene: Scene) -> dict[Param, jax.Array]:
    """Cotangents of weights, by place, pulled back to the parameters that carry credit."""
    params = scene.transition.params
    chosen = [k for k, param in enumerate(params) if param.value.type.carries_credit]

    def weights(selected: Arrays) -> Arrays:
        full = list(scene.params)
        for k, x in zip(chosen, selected, strict=True):
            full[k] = x
        found = scene.calls.weights(full)
        return [found[k] for k in on_weights]

    values, pull = jax.vjp(weights, [scene.params[k] for k in chosen])
    (grads,) = pull([jnp.asarray(x, w.dtype) for x, w in zip(on_weights.values(), values, strict=True)])
    return {params[k]: g for k, g in zip(chosen, grads, strict=True)}
