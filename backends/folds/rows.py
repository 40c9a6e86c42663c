"""What steps leave for the way back over a fold in one scan, what they give there, and what that comes to."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...ir.transition import Site
from ...ir.values import Value
from ..calls import Arrays


class Kept(NamedTuple):
    """What a step leaves for the way back."""

    alone: list[Any]
    """States as they were before the step, and results of costly equations."""
    together: list[Any]
    """The same of many units."""
    bars: Arrays
    """The loss's derivatives by the outputs that carry credit."""


class Found(NamedTuple):
    """What a step gives on the way back."""

    sent: dict[int, Any]
    """For each site with a product, by place, the cotangent of its output, with what later windows send to its data."""
    together: list[Any]
    """The same for each of `OneScan.together`, its sites together."""
    by_family: list[Any]
    """Of each family the sweeps' sensitivities, carried to the fold's end, and the credit that is not in `sent`."""
    data: dict[int, Any]
    """The data that operations of the plan compute, by place in `OneScan.data`."""


class Back(NamedTuple):
    """What the scan backwards over a fold comes to."""

    plain: Arrays
    """The cotangents of weights that are used outside sites."""
    data: dict[Value, Any]
    """The data of sites and traces, `[time, ...]`."""
    sent: dict[int, Any]
    """For each site with a product, by place, the cotangents of its output, what later windows send included."""
    products: list[tuple[int, Any]]
    """What is added to weights, by a site of theirs."""
    reads: dict[Value, Any]
    """The contractions of the traces that entered the fold, by their results."""
    rows: list[tuple[Site, Any, Any]]
    """Further products to do: site, data, cotangents of its output."""
