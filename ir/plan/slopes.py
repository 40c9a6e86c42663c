"""The slopes of one step: what reverse mode within a step multiplies with, where that differs from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .faults import region_missing
from .operation import STEP, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Slopes(Operation):
    """The results of a region that takes a step's weights, states and inputs."""

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    region: str

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the region's results."""
        return tuple(value.type for region in t.regions if region.name == self.region for value in region.outputs)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The region's body on the step's values."""
        region = scene.transition.region(self.region)
        return tuple(jx.evaluate(region.body, jax.lax.stop_gradient(scene.read(region.inputs))))

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """What the region takes."""
        return t.region(self.region).inputs

    def faults(self, t: Transition) -> Iterator[str]:
        """The region is there."""
        yield from region_missing(t, self.region)
