"""Sites whose data a fixed index picks of a smaller array, where a backend reads that array in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.lax import Precision

from ..coupling.primitives.picked import Picked
from ..coupling.primitives.picks import picks
from ..ir.plan import Vjp
from ..ir.plan.contract import product
from ..ir.sources import Source
from ..ir.sparse import taken
from ..ir.transition import Site, Transition
from ..ir.values import Value
from .backend import Backend, Choice
from .picked_sums import PickedSum


@dataclass(frozen=True, eq=False, kw_only=True)
class PickedSource:
    """What one site's data are picked of, and what its product is run by; a `Source` like that of an unfolding."""

    site: Site
    data: Value
    """The array that they are picked of."""
    picked: Picked
    choice: Choice

    @property
    def labels(self) -> str:
        """Of the array's axes, as the site's data have them; of that picked along one that these lack."""
        found = list(self.picked.kept_of(self.site.data_labels or ""))
        found.insert(self.picked.axis, self.site.expression.fresh_label())
        return "".join(found)

    def entry(self, array: Any, without: str) -> Any:
        """The site's data, of one step's array, where both lack the axis `without`."""
        labels, data = self.labels.replace(without, ""), self.site.data_labels or ""
        axis = self.labels[self.picked.axis]
        found = taken(jnp.moveaxis(array, labels.index(axis), -1), self.picked.indices)
        order = labels.replace(axis, "") + self.picked.placed_of(data)
        return jnp.transpose(found, [order.index(label) for label in data.replace(without, "")])

    def unfolded(self, array: Any) -> Any:
        """The site's data, `[*data]` or `[time, *data]`, of the array or of many steps' of it."""
        one = array.ndim == len(self.data.type.shape)
        return self.picked.of(array) if one else jax.vmap(self.picked.of)(array)

    def cotangent(self, data: Any, cotangents: Any) -> Any:
        """The weight's, from the array and cotangents of the site's output, both `[time, ...]`."""
        assert self.choice.run is not None, "where XLA code runs, the site's own data are read"
        return self.choice.run(self, data, cotangents)

    def by_steps(self, data: Any, cotangents: Any) -> Any:
        """The same as XLA code: what is picked at one step is gone before the next."""
        summed = PickedSum.of(self.picked, self.site.expression)
        if summed is None:
            return self._scanned(data, cotangents)
        return jax.lax.platform_dependent(data, cotangents, cpu=summed.row_by_row, default=self._scanned)

    def _scanned(self, data: Any, cotangents: Any) -> Any:
        kind = self.site.weight.value.type

        def add(total: Any, at: Any) -> tuple[Any, None]:
            x, y = at
            return total + product(self.site, self.unfolded(x), y), None

        return jax.lax.scan(add, jnp.zeros(kind.shape, kind.dtype), (data, cotangents))[0]

    def summed(self, factors: Any, data: Any) -> Any:
        """The site's data of many steps, each times a factor, added up; `data` is the array's, `[time, ...]`."""
        return self.unfolded(jnp.tensordot(factors, data, 1, precision=Precision.HIGHEST))


AnySource: TypeAlias = Source | PickedSource
"""What a site's data are made of, where products and filters take that."""


def picked_sources(transition: Transition, backend: Backend) -> dict[Site, PickedSource]:
    """Of each site whose data are picked, by a backend that reads what they are picked of, the source."""
    reverse = None if transition.plan is None else transition.plan.only(Vjp)
    if reverse is None or not backend.reads_picked:
        return {}
    found = picks(transition, transition.region(reverse.region))
    return {
        site: PickedSource(site=site, data=array, picked=picked, choice=backend.choose_product(site, picked))
        for site, (array, picked) in found.items()
    }
