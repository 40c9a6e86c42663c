"""What one pass over a trace is of, and its arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp

from .algebra import Algebra, Cotangents, Held, Jacobians, Passed, added
from .pattern import Sweep


class Operands(NamedTuple):
    """The arrays of `E <- P E + sum_t s_t (x) x_t` and of `<c, E>`."""

    held: Held
    """`E`, the old trace, by state."""
    product: Jacobians
    """`P`, the product of the Jacobians since the trace was last advanced, by pair of states."""
    factors: Mapping[int, jax.Array]
    """`s`, the sensitivities carried to the end, `[time, slots?, *output]` by state."""
    data: jax.Array | None
    """`x`, `[time, *data]`; None for an operation without data."""
    cotangents: Cotangents | None
    """`c`, what to contract the old trace with, by state; None for no contraction."""

    @property
    def nbytes(self) -> int:
        """The bytes of the trace."""
        return sum(x.nbytes for x in self.held.values())


@dataclass(frozen=True, eq=False)
class Pass:
    """Whose trace is passed over."""

    algebra: Algebra
    """The unit's."""
    sweep: Sweep
    members: int | None = None
    """How many sweeps alike it is for: arrays have a leading axis then, or one after that of time."""

    @property
    def batch(self) -> str:
        """The first of the output's axes that the weight lacks, where it has several entries; else nothing."""
        axis = self.sweep.placement.batch[:1]
        return axis if axis and self.sweep.placement.sizes[axis] > 1 else ""

    def placed(self, given: Operands) -> Operands:
        """The operands, Jacobians and credit of the trace's own states as the algebra's pass takes them."""
        held, place = given.held, self.algebra.placed
        pairs = {p: place(self.sweep, x) for p, x in given.product.items() if p[0] in held and p[1] in held}
        credit = None if given.cotangents is None else {k: place(self.sweep, given.cotangents[k]) for k in held}
        return given._replace(product=pairs, cotangents=credit)


def advanced(of: Pass, placed: Operands, without: str = "") -> Passed:
    """The new trace and the contraction of the old one, of one member's placed arrays that may lack an axis."""
    held, pairs, factors, data, credit = placed
    layout = of.sweep.placement
    new: Held = {}
    moved, read = of.algebra.passed(of.sweep, held, pairs, credit, without)
    for k, old in held.items():
        terms = [moved[k]] if k in moved else []
        if k in factors:
            terms.append(layout.outer(factors[k], data, time=True, without=without))
        new[k] = added(terms).astype(old.dtype) if terms else jnp.zeros_like(old)
    return new, read
