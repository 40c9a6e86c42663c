"""Exact RTRL: the whole influence matrix, one full Jacobian a step."""

from __future__ import annotations

from typing import Any

import jax

from ...ir.plan import AdvanceFull
from ..calls import Arrays
from .coordinates import Space
from .scene import Scene, hidden_space, step


def emit_advance_full(op: AdvanceFull, scene: Scene) -> tuple[jax.Array]:
    """`E' = (dh'/dh) E + dh'/dp` at every step of the window: `[every hidden state, parameter]`.

    States that are not hidden are constants at every step, and so are the parameters of other rules.
    """
    calls, transition = scene.calls, scene.transition
    region = transition.region("forward")
    hidden, param = hidden_space(transition), Space((op.param.value.type,))
    place = transition.params.index(op.param)

    def run(vector: jax.Array, parameter: jax.Array, states: Arrays, inputs: Arrays) -> Any:
        params, before = list(scene.params), list(states)
        (params[place],) = param.split(parameter)
        for k, x in zip(calls.hidden_places, hidden.split(vector), strict=True):
            before[k] = x
        after, _ = step(calls, region, calls.weights(params), before, inputs)
        return hidden.join([after[k] for k in calls.hidden_places]), after

    def body(carry: Any, inputs: Arrays) -> tuple[Any, None]:
        states, trace = carry
        at = hidden.join([states[k] for k in calls.hidden_places]), param.join([scene.params[place]])
        (by_state, by_param), after = jax.jacrev(run, argnums=(0, 1), has_aux=True)(*at, states, inputs)
        return (after, (by_state @ trace + by_param).astype(trace.dtype)), None

    (_, trace), _ = jax.lax.scan(body, (scene.states, scene.values[op.trace]), scene.inputs, length=scene.steps)
    return (trace,)
