"""What a step's exit sends back within that step: to the hidden states as they entered, and to what sites put out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .operation import STEP, Operation
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Credit(Operation):
    """Cotangents of a region's results, pulled back within one step.

    Results: the cotangent of each hidden state as it entered, then of each shift that the region takes after weights,
    states and inputs. What of the step credit may pass through is the region's to say.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    region: str
    """Takes weights, states, inputs and shifts, which are zero."""
    cotangents: tuple[Value | None, ...]
    """One for each result of the region; None for zero."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the hidden states and of the shifts."""
        region = next((region for region in t.regions if region.name == self.region), None)
        shifts = () if region is None else region.inputs[given(t) :]
        return (*(s.before.type for s in t.hidden), *(v.type for v in shifts))

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """One reverse sweep of the region."""
        t = scene.transition
        region = t.region(self.region)
        known = [jax.lax.stop_gradient(x) for x in scene.read(region.inputs[: given(t)])]
        first = len(t.weights)
        places = [first + k for k in t.hidden_places]
        zeros = [jnp.zeros(v.type.shape, v.type.dtype) for v in region.inputs[given(t) :]]

        def results(hidden: Arrays, shifts: Arrays) -> Arrays:
            arguments = list(known)
            for place, x in zip(places, hidden, strict=True):
                arguments[place] = x
            return jx.evaluate(region.body, [*arguments, *shifts])

        found, pull = jax.vjp(results, [known[k] for k in places], zeros)
        cotangents = zip(self.cotangents, found, strict=True)
        to_states, to_shifts = pull(
            [jnp.zeros_like(y) if c is None else scene[c].astype(y.dtype) for c, y in cotangents]
        )
        return (*to_states, *to_shifts)

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """The cotangents, and what the region takes."""
        return (*self.operands, *t.region(self.region).inputs[: given(t)])

    def faults(self, t: Transition) -> Iterator[str]:
        """The region is there, and has as many results as there are cotangents."""
        region = next((region for region in t.regions if region.name == self.region), None)
        if region is None:
            yield f"runs region @{self.region}, which is not there"
        elif len(region.outputs) != len(self.cotangents):
            yield f"has {len(self.cotangents)} cotangents for {len(region.outputs)} results of region @{self.region}"


def given(t: Transition) -> int:
    """How many values a step takes once the prologue is done: weights, states and inputs."""
    return len(t.weights) + len(t.states) + len(t.inputs)
