"""Exact influence by unit cotangents at a window's end: `E' = w_bar + h_bar E`, all parameters at once."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ...coupling.primitives import nonlinear_rule
from ...ir import jaxpr as jx
from ...ir.plan import AdvanceFull, Plan, RealCoordinates, Scene
from ...ir.plan.influence import hidden_coordinates
from ...ir.plan.reverse import run_step, weights_of
from ...ir.regions import FORWARD
from ...ir.transition import StateKind, Transition
from ..calls import Arrays


class Influence:
    """The influence matrices of one plan."""

    def __init__(self, transition: Transition, plan: Plan) -> None:
        """Prepare for the parameters that have one."""
        self.transition = transition
        self.params = [op.param for op in plan.at_window if isinstance(op, AdvanceFull)]
        self.hidden = hidden_coordinates(transition) if self.params else None
        self.apart = self._needs_pull_back_of_its_own()

    def _needs_pull_back_of_its_own(self) -> bool:
        """Whether influence matrices cannot share the pull-back of the window's loss.

        Credit through buffers is dropped in them alone, and a readout's backward rule that is not linear need not send
        back nothing where it gets nothing.
        """
        if not self.params or any(state.kind is StateKind.BUFFER for state in self.transition.states):
            return True
        return any(nonlinear_rule(eqn) for eqn in jx.equations(self.transition.region(FORWARD).body))

    def advance(self, op: AdvanceFull, scene: Scene) -> tuple[Any, ...]:
        """The matrix after a window."""
        rows, own = scene.once("influence", lambda: self._pulled(scene))
        before = scene[op.trace]
        return ((own[self.params.index(op.param)] + rows @ before).astype(before.dtype),)

    def _pulled(self, scene: Scene) -> tuple[jax.Array, list[jax.Array]]:
        """The pull-backs of every unit cotangent, to the entering states and to the parameters, in real coordinates."""
        assert self.hidden is not None
        hidden, columns = self.hidden, [RealCoordinates([p.value.type]) for p in self.params]
        pull = (
            self._of_its_own(scene)
            if self.apart or "pull to params" not in scene.memo
            else scene.memo["pull to params"]
        )
        places = [self.transition.params.index(p) for p in self.params]

        def unit(vector: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
            # JAX's cotangent `c` of a complex `z` stands for `dl = Re(c dz)`: coordinates are those of its conjugate.
            entering, own = pull([jnp.conj(x) for x in hidden.unflatten(vector)])
            flat = [c.flatten([jnp.conj(own[k])]) for c, k in zip(columns, places, strict=True)]
            return hidden.flatten([jnp.conj(x) for x in entering]), flat

        return jax.vmap(unit)(jnp.eye(hidden.size, dtype=hidden.dtype))

    def _of_its_own(self, scene: Scene) -> Any:
        """The pull-back of the window's last hidden states; what passes through other states is dropped."""
        t, window = self.transition, scene.window
        assert window is not None
        places = [t.params.index(param) for param in self.params]

        def run(hidden: Arrays, own: Arrays) -> Arrays:
            params, now = list(window.params), list(window.states)
            for k, x in zip(places, own, strict=True):
                params[k] = x
            for k, x in zip(t.hidden_places, hidden, strict=True):
                now[k] = x
            weights = weights_of(t, params)

            def body(now: Arrays, x: Arrays) -> tuple[Arrays, None]:
                kept = [s if k in t.hidden_places else jax.lax.stop_gradient(s) for k, s in enumerate(now)]
                return run_step(t, t.region(FORWARD), weights, kept, x)[0], None

            after, _ = jax.lax.scan(body, now, window.inputs, length=window.steps)
            return [after[k] for k in t.hidden_places]

        at = [window.states[k] for k in t.hidden_places], [window.params[k] for k in places]
        _, pull = jax.vjp(run, *jax.lax.stop_gradient(at))

        def pulled(cotangents: Arrays) -> tuple[Arrays, dict[int, Any]]:
            entering, own = pull(cotangents)
            return entering, dict(zip(places, own, strict=True))

        return pulled
