"""What a fixed index picks the data of sites of, where a region of the step takes it or hands it out."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from ...ir import jaxpr as jx
from .picked import Picked, picked_data

if TYPE_CHECKING:
    from ...ir.transition import Region, Site, Transition
    from ...ir.values import Value

LARGE = 1 << 20
"""Bytes of what is picked, at one step, from which on what it is picked of is held in its place."""
MORE = 2
"""So many times as much must be picked as there is."""


class Picking(NamedTuple):
    """What one site's data are picked of, and how."""

    array: Value
    picked: Picked


def pays(picked: Picked) -> bool:
    """Whether to hold the array, and pick of it once more, takes clearly less room than to hold what is picked."""
    kind, array = jx.type_of(picked.gather.outvars[0]), math.prod(jx.shape_of(picked.array))
    return kind.bytes >= LARGE and kind.size >= MORE * array


def picks(transition: Transition, region: Region) -> dict[Site, Picking]:
    """For each site whose data are picked, what they are picked of."""
    if region.body is None:
        return {}
    pairs = [*zip(jx.outvars(region.body), region.outputs, strict=True)]
    pairs += zip(jx.argument_vars(region.body), region.inputs, strict=False)
    weights = {weight.value for weight in transition.weights}
    value_of = {var: value for var, value in pairs if not jx.is_literal(var) and value not in weights}
    var_of = {value: var for var, value in value_of.items()}
    sites = {site: var_of[site.data] for site in transition.sites if site.data in var_of}
    found = picked_data(region.body, list(sites.values()))
    known = {site: found[var] for site, var in sites.items() if var in found}
    return {site: Picking(value_of[p.array], p) for site, p in known.items() if p.array in value_of}
