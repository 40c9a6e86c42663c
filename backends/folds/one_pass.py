"""What one pass over a trace is of, and its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..loops import in_turn
from .algebra import Algebra, Cotangents, Held, Jacobians, Passed, added, as_multiplied
from .pattern import Sweep


class Operands(NamedTuple):
    """The arrays of `E <- P E + sum_t s_t (x) x_t` and of `<c, E>`."""

    held: Held
    """`E`, the old trace, by state."""
    product: Jacobians
    """`P`, the product of the Jacobians since the trace was last advanced, by pair of states."""
    factors: Mapping[int, jax.Array]
    """`s`, the sensitivities carried to the end, `[time, *output]` by state, slots among them."""
    data: jax.Array | None
    """`x`, `[time, *data]`; None for an operation without data."""
    cotangents: Cotangents | None
    """`c`, what to contract the old trace with, by state; None for no contraction."""

    @property
    def nbytes(self) -> int:
        """The bytes of the trace as it is multiplied."""
        return as_multiplied(list(self.held.values()))


@dataclass(frozen=True, eq=False)
class Pass:
    """Whose trace is passed over."""

    algebra: Algebra
    """The unit's."""
    sweep: Sweep
    members: int | None = None
    """How many sweeps alike it is for: arrays have a leading axis then, or one after that of time."""

    @property
    def takes_own(self) -> bool:
        """Whether one product makes what is added to an entry of the trace, and the site's own, of the same data."""
        return self.members is None and self.is_product

    @property
    def is_product(self) -> bool:
        """Whether what is added to an entry is a matrix product of the data, time last, and factors, time first."""
        place, batch = self.sweep.placement, self.batch
        if not batch or batch != place.batch or batch not in (place.data or ""):
            return False
        return place.trace.replace(batch, "") == f"{place.data}{place.output}".replace(batch, "")

    @property
    def batch(self) -> str:
        """The first of the output's axes that the weight lacks, where it has several entries; else nothing."""
        axis = self.sweep.placement.batch[:1]
        return axis if axis and self.sweep.placement.sizes[axis] > 1 else ""

    def is_large(self, given: Operands) -> bool:
        """Whether the trace has entries of a batch, and they are too much to be taken all at once."""
        return bool(self.batch) and given.nbytes >= self.algebra.in_place_from

    def unfolded(self, given: Operands) -> tuple[Pass, Operands]:
        """The same pass of data as the trace takes them."""
        if self.sweep.picked is None:
            return self, given
        whole = Pass(self.algebra, replace(self.sweep, picked=None), self.members)
        return whole, given._replace(data=self.sweep.unfolded(given.data))

    def fed(self, factors: Mapping[int, Any], data: Any, without: str = "") -> Held:
        """What many steps add to the trace, of arrays that may lack an axis; picked data are picked step by step."""
        place, picked = self.sweep.placement, self.sweep.picked
        if picked is None:
            return {k: place.outer(x, data, time=True, without=without) for k, x in factors.items()}

        def step(t: Any) -> Held:
            x = picked.entry(data[t], without)
            return {k: place.outer(f[t], x, without=without) for k, f in factors.items()}

        def add(t: Any, total: Held) -> Held:
            return {k: total[k] + more for k, more in step(t + 1).items()}

        return in_turn(add, len(data) - 1, step(0))

    def placed(self, given: Operands) -> Operands:
        """The operands, Jacobians and credit of the trace's own states as the algebra's pass takes them."""
        held, place = given.held, self.algebra.placed
        pairs = {p: place(self.sweep, x) for p, x in given.product.items() if p[0] in held and p[1] in held}
        credit = None if given.cotangents is None else {k: place(self.sweep, given.cotangents[k]) for k in held}
        return given._replace(product=pairs, cotangents=credit)


def advanced(of: Pass, placed: Operands, without: str = "", fed: Held | None = None) -> Passed:
    """The new trace and the contraction of the old one, of one member's placed arrays that may lack an axis.

    `fed` is what is added to the trace, where that is known.
    """
    held, pairs, factors, data, credit = placed
    if fed is None:
        fed = of.fed({k: x for k, x in factors.items() if k in held}, data, without)
    new: Held = {}
    moved, read = of.algebra.passed(of.sweep, held, pairs, credit, without)
    for k, old in held.items():
        terms = [of_one[k] for of_one in (moved, fed) if k in of_one]
        new[k] = added(terms).astype(old.dtype) if terms else jnp.zeros_like(old)
    return new, read
