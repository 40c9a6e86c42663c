"""The derivative of a window's loss along a direction, forwards where the window is one step."""

from __future__ import annotations

from typing import Any

from ...coupling.primitives import nonlinear_rule
from ...ir import jaxpr as jx
from ...ir.plan import Along, Scene
from ...ir.plan.along import paired
from ...ir.plan.push import push_through, step_parts, typed
from ...ir.regions import FORWARD
from ...ir.transition import Transition
from ..calls import Arrays


class Forwards:
    """`<h_bar, v>` as `<y_bar, (dy/dh) v>`.

    A rule that carries `v` has pushed it through this very step, so XLA finds all but the outputs' part done, and the
    way back from the new states to the old ones, a product with each weight transposed, is not taken at all.
    """

    def __init__(self, transition: Transition) -> None:
        """Prepare for one transition. A backward rule that is not linear has no transpose."""
        self.transition = transition
        self.linear = not any(nonlinear_rule(eqn) for eqn in jx.equations(transition.region(FORWARD).body))

    def along(self, op: Along, scene: Scene) -> tuple[Any, ...]:
        """The number."""
        bars, window, t = scene.memo.get("output cotangents"), scene.window, self.transition
        if bars is None or window is None or window.steps != 1 or not self.linear:
            return op.evaluate(scene)

        def credited(states: Arrays, outputs: Arrays) -> Arrays:
            del states
            return [y for y, of in zip(outputs, t.outputs, strict=True) if of.value.type.carries_credit]

        weights = scene.read(step_parts(t)[0])
        push = push_through(t, weights, window.states, [x[0] for x in window.inputs], results=credited)
        return (paired([c[0] for c in bars], push(typed(scene, op.tangents)), op.results[0].type.dtype),)
