"""What the data of sites were unfolded from, where a region of the step hands it out."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from . import jaxpr as jx
from .operations.base import WeightOperation
from .operations.call import source_of
from .regions import STEP
from .transition import Region, Site, Transition
from .values import Value


class Source(NamedTuple):
    """What a site's data were unfolded from, and the weight operation that it is."""

    data: Value
    operation: WeightOperation
    weight: jax.ShapeDtypeStruct

    def cotangent(self, data: Any, cotangents: Any) -> Any:
        """The weight's, from data that were not unfolded and cotangents of the site's output, both `[time, ...]`."""
        return self.operation.cotangent(data, cotangents, self.weight)

    def summed(self, factors: Any, data: Any) -> Any:
        """The unfolded data of many steps, `[time, ...]` before that, each times a factor, added up."""
        return self.operation.summed(factors, data, self.weight)


def sources(transition: Transition, region: Region) -> dict[Site, Source]:
    """For each site whose data are unfolded, what they are unfolded from, where `region` takes it or hands it out."""
    body, step = region.body, transition.region(STEP).body
    results = zip(jx.outvars(body), region.outputs, strict=True)
    values = {var: value for var, value in results if not jx.is_literal(var)}
    values |= dict(zip(jx.argument_vars(body), region.inputs, strict=True))
    var_of = {value: var for var, value in values.items()}
    producers, whole = jx.Producers(body), jx.Producers(step)
    found: dict[Site, Source] = {}
    for site in transition.sites:
        made = producers.producer(var_of.get(site.data)) if site.data is not None else None
        if made is not None and source_of(jx.equation(step, site.equation), whole) is not None:
            (data,) = made.invars
            if not jx.is_literal(data) and data in values:
                kind = site.weight.value.type
                weight = jax.ShapeDtypeStruct(kind.shape, kind.dtype)
                found[site] = Source(values[data], made.params["operation"], weight)
    return found
