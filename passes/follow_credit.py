"""follow-credit: the data-flow of the step, found once for every pass that asks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.regions import STEP
from ..ir.transition import Transition
from .analyses.dataflow import analyse_dataflow
from .base import Pass


@dataclass(frozen=True)
class FollowCredit(Pass):
    """Find out what each value of the step depends on, position by position, and what is held.

    Before: no `flow`.  After: `flow` is the step's data-flow, which later passes read; the text does not show it. It
    stays for as long as the step is the same: a transition with another one has none, and whoever asks computes it.
    Refuses backward rules that are no derivative.
    """

    name: ClassVar[str] = "follow-credit"

    def run(self, transition: Transition) -> Transition:
        """The transition with its data-flow; without one where it was read from text, since its step has no body."""
        if transition.flow is not None or transition.region(STEP).body is None:
            return transition
        return replace(transition, flow=analyse_dataflow(transition))
