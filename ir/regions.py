"""Regions by name, and how one is made from a jaxpr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from . import jaxpr as jx
from .dataflow import HIDDEN as HIDDEN
from .dataflow import OPEN as OPEN
from .transition import Region, Transition
from .values import Value

STEP = "step"
WEIGHTS = "weights"
FORWARD = "forward"
RESTRICTED = "restricted"
MODEL = (STEP, WEIGHTS, FORWARD, HIDDEN, RESTRICTED)
"""The regions that slice the model's step; a plan may have more of its own."""
EXIT = "exit"
SHOWN = "shown"
SEEN = "seen"
SLOPES = "slopes"
ONWARD = "onward"


def make_region(name: str, body: Any, inputs: Sequence[Value], outputs: Sequence[Value]) -> Region:
    """A region over `body`."""
    count = len(jx.equations(body))
    return Region(name=name, inputs=tuple(inputs), outputs=tuple(outputs), equations=count, body=body)


def variables_of(region: Region) -> dict[Value, Any]:
    """The variable of a region's body that each value it takes or gives is there."""
    found: dict[Value, Any] = dict(zip(region.inputs, jx.argument_vars(region.body), strict=True))
    return found | dict(zip(region.outputs, jx.outvars(region.body), strict=True))


def with_regions(transition: Transition, *regions: Region) -> Transition:
    """The transition with these regions, in the place of those of the same names."""
    new = {region.name: region for region in regions}
    kept = [new.pop(region.name, region) for region in transition.regions]
    return replace(transition, regions=(*kept, *new.values()))
