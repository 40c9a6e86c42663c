"""Of sites whose data are picked of much smaller arrays, these arrays, and a region that picks."""

from __future__ import annotations

import jax

from ...coupling.primitives.picks import Picking, pays, picks
from ...ir import jaxpr as jx
from ...ir.picks import Pick
from ...ir.regions import make_region
from ...ir.transition import Site, Transition
from ...ir.values import Value


def paying_picks(transition: Transition, region: str) -> dict[Site, Pick]:
    """For each site whose data are picked in a region, what they are picked of, where to hold that takes less room."""
    found = picks(transition, transition.region(region))
    places = {site: k for k, site in enumerate(transition.sites)}
    return {site: _pick(site, of, f"picked_{places[site]}") for site, of in found.items() if pays(of.picked)}


def _pick(site: Site, of: Picking, name: str) -> Pick:
    kind, kept = of.array.type, iter(of.picked.kept)
    body, _ = jx.trace(of.picked.of, jax.ShapeDtypeStruct(kind.shape, kind.dtype))
    inputs = Value(type=kind, hint="a")
    outputs = [Value(type=jx.type_of(atom), hint="picked") for atom in jx.outvars(body)]
    region = make_region(name, body, [inputs], outputs)
    other, labels = site.expression.fresh_label(), site.data_labels or ""
    axes = range(len(kind.shape))
    return Pick(of.array, region, "".join(other if k == of.picked.axis else labels[next(kept)] for k in axes))
