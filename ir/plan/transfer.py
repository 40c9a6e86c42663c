"""The algebra of one linear recurrence `E' = A E + b`: what `A` may be, and what `b`.

A transfer says how a trace is carried from one step to the next; a drive says what each step adds to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ...coupling import Coupling
from ..values import Value
from .links import links, pick
from .operation import Part
from .placement import Placement, align
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Association


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Transfer(Part):
    """`A`: what of a trace is carried on."""

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`A E`, for the arrays of a trace; None for one of which nothing is carried on."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scalar(Transfer):
    """The same factor for every array."""

    factor: float

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`a E`."""
        del scene
        return [jnp.asarray(self.factor, e.dtype) * e for e in trace]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Diagonal(Transfer):
    """A diagonal over positions for each pair of states: `E'_k = sum_j D_kj E_j`, position by position."""

    association: Association
    """Whose site's output positions the trace lives at."""
    pairs: tuple[tuple[int, int], ...]
    """For each factor the array that it adds to, and the array that it multiplies."""
    factors: tuple[Value, ...]
    """Arrays at the group's positions."""
    at_output: bool = False
    """Whether the trace has the output's axes alone, as the row factor of a rank-one trace does."""

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`D E`."""
        place = Placement(self.association)
        labels = place.output if self.at_output else place.trace
        terms: list[list[Any]] = [[] for _ in trace]
        for (of, on), value in zip(self.pairs, self.factors, strict=True):
            terms[of].append(align(place.gather(scene[value]), place.output, labels) * trace[on])
        return [sum(found[1:], found[0]) if found else None for found in terms]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Neighbourhood(Transfer):
    """A sparse matrix over positions for each pair of states, kept on the positions that a trace is followed to.

    `E'_k[q, p] = sum_j sum_q' D_kj[q, q'] E_j[q', p]`, for `q` and `q'` in the reach of the output position `p`: the
    sparse approximation of Menick et al. 2021, exact where the reach is closed under `D`.
    """

    association: Association
    reach: Coupling
    pairs: tuple[tuple[int, int], ...]
    """For each factor the array that it adds to, and the array that it multiplies."""
    couplings: tuple[Coupling, ...]
    """For each factor how the new state's positions depend on the old one's."""
    factors: tuple[Value, ...]
    """`[targets?, *group]`: at each old position the derivatives of the new positions that it feeds."""

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`D E` on the reach."""
        place = Placement(self.association, self.reach)
        terms: list[list[Any]] = [[] for _ in trace]
        for (of, on), coupling, value in zip(self.pairs, self.couplings, self.factors, strict=True):
            terms[of].append(spread(place, within(place, coupling, scene[value]), trace[on]))
        return [sum(found[1:], found[0]) if found else None for found in terms]


def within(place: Placement, coupling: Coupling, factor: Any, lead: int = 0) -> Any:
    """A Jacobian on the slots of a placement, `[..., *output, new slot, old slot]`, from `[..., targets?, *group]`.

    Axes of the output along which it does not change have size one.
    """
    return pick(factor, links(place.followed, coupling), lead)


def spread(place: Placement, matrix: Any, trace: Any) -> Any:
    """`A E`: each followed position's trace, sent on to the followed positions that it feeds."""
    labels, output = place.trace, place.output[len(place.slot) :]
    if not place.slot:
        return align(matrix[..., 0, 0], output, labels) * trace
    kept = [axis for axis, size in enumerate(matrix.shape[:-2]) if size > 1]
    matrix = matrix.reshape([*(matrix.shape[axis] for axis in kept), *matrix.shape[-2:]])
    old = next(label for label in "XYZxyz" if label not in labels + output)
    within = "".join(output[axis] for axis in kept)
    return jnp.einsum(f"{within}{place.slot}{old},{labels.replace(place.slot, old)}->{labels}", matrix, trace)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drive(Part):
    """`b`: what a step adds to a trace."""

    def terms(self, scene: Scene) -> list[Any]:
        """`b`, for the arrays of a trace; None for one to which nothing is added."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plain(Drive):
    """Values as they are."""

    values: tuple[Value | None, ...]
    """One for each array of the trace; None for nothing."""

    def terms(self, scene: Scene) -> list[Any]:
        """The values."""
        return [None if value is None else scene[value] for value in self.values]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outer(Drive):
    """`f (x) x`: what a step's use of the weight adds to the derivative of the states by the weight."""

    association: Association
    factors: tuple[Value | None, ...]
    """`f`, `[slots?, *output]`, for each array of the trace; None where it is zero. Slots are what the site feeds."""
    data: Value | None
    """`x`; None for an operation without data."""
    reach: Coupling | None = None
    """The positions that the trace is followed to, where they are not what the site feeds."""

    def terms(self, scene: Scene) -> list[Any]:
        """`f (x) x` in the trace's layout."""
        place = Placement(self.association, self.reach)
        data = None if self.data is None else scene[self.data]
        return [None if f is None else place.outer(place.widened(scene[f]), data) for f in self.factors]


def total(carried: Sequence[Any], added: Sequence[Any], trace: Arrays) -> list[Any]:
    """`A E + b`, in the element types of the trace."""
    new: list[Any] = []
    for old, a, b in zip(trace, carried, added, strict=True):
        parts: list[Any] = [x for x in (a, b) if x is not None]
        whole: Any = sum(parts[1:], parts[0]) if parts else jnp.zeros_like(old)
        new.append(whole.astype(old.dtype))
    return new
