"""The hidden states with nothing held: their groups, and the region that these groups' derivatives are of."""

from __future__ import annotations

from dataclasses import replace

from ..ir.dataflow import OPEN
from ..ir.regions import RESTRICTED, with_regions
from ..ir.transition import OpenScope, Transition
from .analyses.dataflow import analyse_dataflow
from .analyses.slicer import Slicer
from .associate_weights import associated
from .classify_coupling import classified
from .group_states import grouped
from .restrict_credit import restricted_region


def with_open_scope(transition: Transition) -> Transition:
    """The transition with its open scope: groups, associations and the region `open`; itself where it has one.

    No operation is held for how it couples positions: a dense recurrence couples every position with every other one,
    and one that is dense in blocks couples those of a block. What is not complex-differentiable is held here too. The
    regions that hand values to `open` are cut again, since it needs others than `hidden`.
    """
    if transition.open is not None:
        return transition
    flow = analyse_dataflow(transition, OPEN)
    bare = grouped(transition, flow, first=len(transition.groups))
    groups, associations = classified(transition, flow, bare, tuple(associated(transition, flow, bare)))
    found = replace(transition, open=OpenScope(groups=groups, associations=associations, flow=flow))
    slicer = Slicer(found)
    found = with_regions(found, slicer.forward(), slicer.hidden(), slicer.hidden(OPEN))
    if any(region.name == RESTRICTED for region in transition.regions):
        found = with_regions(found, restricted_region(found))
    return found
