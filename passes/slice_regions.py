"""slice-regions: the weights prologue, the step that a learner runs, and the part of it that traces live in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..ir.regions import FORWARD, with_regions
from ..ir.transition import Transition
from .analyses.slicer import Slicer
from .base import Pass


@dataclass(frozen=True)
class SliceRegions(Pass):
    """Cut the step into regions.

    - `weights(params) -> weights`: the prologue.
    - `forward(weights, states, inputs, site weights, shifts) -> (new states, outputs, records)`: the rest of the step.
      Each site takes its weight from the site weights, so that a backend may treat its derivative apart; every other
      use takes it from the weights. A shift (zeros) is added to each site's output, so that its cotangent can be asked
      for. The records are the sites' data and whatever the hidden region needs.
    - `hidden(states, needs, shifts) -> new hidden states`: what remains of the step between the hidden states and
      the sites' outputs when every mixing operation is held. Its derivatives are `D` (by the states) and `f` (by the
      shifts). Where a rule asks for it, `open` is the same with nothing held.

    Before: `region @step`.  After: `region @weights`, `region @forward` and `region @hidden` as well.
    """

    name: ClassVar[str] = "slice-regions"

    def run(self, transition: Transition) -> Transition:
        """The transition with the three regions."""
        if any(region.name == FORWARD for region in transition.regions):
            return transition
        slicer = Slicer(transition)
        return with_regions(transition, slicer.weights(), slicer.forward(), slicer.hidden())
