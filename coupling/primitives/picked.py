"""Data of sites that a fixed index picks of a smaller array, as the edges of a graph read its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...ir import jaxpr as jx
from ...ir.sparse import as_places
from .constants import Constants


@dataclass(frozen=True, eq=False)
class Picked:
    """Entries that one equation picks along one axis of an array."""

    gather: Any
    places: np.ndarray
    """Of each entry its place along the axis."""

    @property
    def array(self) -> Any:
        """The variable that is picked of."""
        return self.gather.invars[0]

    @property
    def axis(self) -> int:
        """Its axis."""
        (axis,) = self.gather.params["dimension_numbers"].collapsed_slice_dims
        return axis

    @property
    def kept(self) -> tuple[int, ...]:
        """The axes of the result that are the array's others; along the rest lie the places."""
        return tuple(self.gather.params["dimension_numbers"].offset_dims)

    def kept_of(self, data: str) -> str:
        """Of the labels of what is picked, those of the axes that nothing is picked along."""
        return "".join(data[k] for k in self.kept)

    def placed_of(self, data: str) -> str:
        """The others: the labels of the places, in their order."""
        return "".join(label for k, label in enumerate(data) if k not in self.kept)

    @cached_property
    def indices(self) -> np.ndarray:
        """The places as `ir.sparse.taken` wants them."""
        return as_places(self.places)

    def of(self, array: Any) -> Any:
        """What is picked of an array."""
        return jx.apply(self.gather, [array, self.indices])[0]


def picked_data(body: Any, data: Sequence[Any]) -> Mapping[Any, Picked]:
    """Of some variables of a jaxpr those that are picked, of a variable, and how."""
    producers = jx.Producers(body)
    made = {var: eqn for var in data if (eqn := producers.producer(var)) is not None and eqn.primitive.name == "gather"}
    constants = Constants(body) if made else None
    found: dict[Any, Picked] = {}
    for var, eqn in made.items():
        assert constants is not None
        places = constants.get(eqn.invars[1])
        if places is not None and not jx.is_literal(eqn.invars[0]) and _is_picking(eqn, places):
            found[var] = Picked(eqn, places[..., 0])
    return found


def _is_picking(eqn: Any, places: np.ndarray) -> bool:
    """Whether a gather takes single places along one axis, all of which it has, and the other axes whole."""
    numbers, shape = eqn.params["dimension_numbers"], jx.shape_of(eqn.invars[0])
    if len(numbers.start_index_map) != 1 or numbers.collapsed_slice_dims != numbers.start_index_map:
        return False
    (axis,) = numbers.collapsed_slice_dims
    whole = all(
        n == (1 if k == axis else m) for k, (n, m) in enumerate(zip(eqn.params["slice_sizes"], shape, strict=True))
    )
    inside = places.size > 0 and places.min() >= 0 and places.max() < shape[axis]
    return whole and inside and places.shape[-1] == 1 and not numbers.operand_batching_dims
