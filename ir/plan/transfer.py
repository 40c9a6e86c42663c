"""The algebra of one linear recurrence `E' = A E + b`: what `A` may be, and what `b`.

A transfer says how a trace is carried from one step to the next; a drive says what each step adds to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ...coupling import Coupling
from ..types import TensorType
from ..values import Value
from .faults import kinds_of, misshapen, not_as_many, not_differentiable, too_narrow
from .links import entries_shape, gathered, links, pick
from .operation import Part
from .placement import Placement, align, placement_faults
from .scene import Arrays, Scene

if TYPE_CHECKING:
    from ..transition import Association, Site


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Transfer(Part, ABC):
    """`A`: what of a trace is carried on."""

    @abstractmethod
    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`A E`, for the arrays of a trace; None for one of which nothing is carried on."""

    @property
    def placement(self) -> Placement | None:
        """Where it takes the trace to lie; None where that is the same to it."""
        return None

    @property
    def terms(self) -> int:
        """How many entries of the trace each entry of the next one is made of, for each pair of arrays."""
        return 1

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """What keeps it from carrying arrays of these types: half sentences about its operation."""
        del trace
        yield from ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scalar(Transfer):
    """The same factor for every array."""

    factor: float
    imaginary: float = 0.0
    """The factor's imaginary part: it turns complex arrays."""

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`a E`."""
        del scene
        factor = complex(self.factor, self.imaginary) if self.imaginary else self.factor
        return [jnp.asarray(factor, e.dtype) * e for e in trace]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """The trace holds numbers that the factor can scale."""
        yield from not_differentiable("scales", trace)
        if self.imaginary and not all(kind.is_complex for kind in trace):
            yield "turns a trace that is real by a complex factor"


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
    reach: Coupling | None = None
    """The positions that the trace is followed to, where they are not what the site feeds."""
    alike: str = ""
    """Labels of the weight's axes that the trace has not, since it is the same along them."""

    @property
    def placement(self) -> Placement:
        """At the positions that the trace is followed to."""
        return Placement(self.association, self.reach, self.alike)

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`D E`."""
        place = self.placement
        labels = place.output if self.at_output else place.trace
        terms: list[list[Any]] = [[] for _ in trace]
        for (of, on), value in zip(self.pairs, self.factors, strict=True):
            terms[of].append(align(place.gather(scene[value]), place.output, labels) * trace[on])
        return [sum(found[1:], found[0]) if found else None for found in terms]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """A factor for each pair, at the group's positions; the trace is laid out at the output's."""
        yield from _pair_faults(self.pairs, self.factors, trace)
        unplaced = list(placement_faults(self.association, self.reach, self.alike))
        yield from unplaced
        if not unplaced:
            place = self.placement
            yield from misshapen("trace", trace, place.output_shape if self.at_output else place.shape)
            yield from misshapen("carrying factor", kinds_of(self.factors), self.association.group.shape)


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
    """At each old position the derivatives of the new positions that it feeds, as `links.entries_shape` has them."""

    @property
    def placement(self) -> Placement:
        """On the reach."""
        return Placement(self.association, self.reach)

    @property
    def terms(self) -> int:
        """The slots."""
        return self.placement.slots

    def apply(self, scene: Scene, trace: Arrays) -> list[Any]:
        """`D E` on the reach."""
        place = self.placement
        terms: list[list[Any]] = [[] for _ in trace]
        for (of, on), coupling, value in zip(self.pairs, self.couplings, self.factors, strict=True):
            few = gathered(place.followed, coupling)
            if few is None:
                terms[of].append(spread(place, within(place, coupling, scene[value]), trace[on]))
            else:
                terms[of] += moved(place, few[0], pick(scene[value], few[1]), trace[on])
        return [sum(found[1:], found[0]) if found else None for found in terms]

    @property
    def gathers(self) -> bool:
        """Whether all that moves is gathered slot by slot, so that no matrix between slots is ever needed."""
        return all(gathered(self.placement.followed, coupling) is not None for coupling in self.couplings)

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """A factor and a coupling for each pair, at the group's positions; the trace is laid out on the reach."""
        yield from _pair_faults(self.pairs, self.factors, trace)
        yield from not_as_many(self.couplings, "coupling", self.pairs, "pair")
        unplaced = list(placement_faults(self.association, self.reach))
        yield from unplaced
        if not unplaced:
            yield from misshapen("trace", trace, self.placement.shape)
        group = self.association.group.shape
        for coupling, factor in zip(self.couplings, self.factors, strict=False):
            if (coupling.in_shape, coupling.out_shape) != (group, group):
                yield "has a coupling between other positions than its group's"
            else:
                yield from misshapen("carrying factor", [factor.type], entries_shape(coupling))


def _pair_faults(
    pairs: Sequence[tuple[int, int]], factors: Sequence[Value], trace: Sequence[TensorType]
) -> Iterator[str]:
    """A factor for each pair of arrays that the trace has."""
    yield from not_as_many(factors, "factor", pairs, "pair")
    for (of, on), factor in zip(pairs, factors, strict=False):
        if not (0 <= of < len(trace) and 0 <= on < len(trace)):
            yield f"is carried from array {on} to array {of}, of a trace of {len(trace)}"
        else:
            yield from too_narrow(trace[of], [factor.type, trace[on]])


def within(place: Placement, coupling: Coupling, factor: Any, lead: int = 0, *, source: Placement | None = None) -> Any:
    """A Jacobian on the slots of a placement, `[..., *output, new slot, old slot]`, from its entries.

    Axes of the output along which it does not change have size one. Old slots are those of `source`, where that is
    another placement.
    """
    return pick(factor, links(place.followed, coupling, None if source is None else source.followed), lead)


def spread(place: Placement, matrix: Any, trace: Any, *, source: Placement | None = None) -> Any:
    """`A E`: each followed position's trace, sent on to the followed positions that it feeds.

    The trace is laid out by `source`, where that is another placement.
    """
    old, output = source or place, place.association.site.expression.output
    if not (place.slot or old.slot) and place.trace == old.trace:
        return align(matrix[..., 0, 0], output, place.trace) * trace
    matrix = jax.lax.optimization_barrier(matrix)  # else each entry of the trace computes its own
    first = "".join(label for label in old.summed if label not in place.summed)
    matrix = matrix[tuple(slice(0, 1) if label in first else slice(None) for label in output)]
    kept = [axis for axis, size in enumerate(matrix.shape[:-2]) if size > 1]
    matrix = matrix.reshape([*(matrix.shape[axis] for axis in kept), *matrix.shape[-2:]])
    new, at = [label for label in "XYZxyz" if label not in old.trace + place.trace + output][:2]
    own, onto = (
        x.trace.replace(x.slot, label) if x.slot else label + x.trace for x, label in ((old, at), (place, new))
    )
    within, after = "".join(output[axis] for axis in kept), "".join(label for label in onto if label not in first)
    if old.slot:
        found = jnp.einsum(f"{within}{new}{at},{own}->{after}", matrix, trace)
    else:
        found = align(matrix[..., 0], within + new, after) * align(trace, old.trace, after)
    found = _at_first(found, after, onto, first, place.sizes)
    return found if place.slot else found[0]


def _at_first(array: Any, labels: str, onto: str, first: str, sizes: Mapping[str, int]) -> Any:
    """`array` with axes for the labels `first`: it stands at their first positions, zeros at all others.

    A sum over an axis that another placement has counts there as if all of it stood at the first position, which is
    followed to wherever the others are.
    """
    if not first:
        return array
    widths = [(0, sizes[label] - 1 if label in first else 0) for label in onto]
    return jnp.pad(align(array, labels, onto), widths)


def moved(place: Placement, old: Any, factors: Any, trace: Any) -> Iterator[Any]:
    """The terms of `A E` where each slot is fed by few: `old[new slot, few]` by `factors[*output, new slot, few]`."""
    shape = place.slots, *place.association.site.output.type.shape
    for k in range(old.shape[-1]):
        factor = place.from_slots_first(jnp.broadcast_to(jnp.moveaxis(factors[..., k], -1, 0), shape))
        yield align(factor, place.output, place.trace) * jnp.take(trace, old[:, k], axis=place.trace.index(place.slot))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Drive(Part, ABC):
    """`b`: what a step adds to a trace."""

    @abstractmethod
    def terms(self, scene: Scene) -> list[Any]:
        """`b`, for the arrays of a trace; None for one to which nothing is added."""

    @property
    def placement(self) -> Placement | None:
        """Where it takes the trace to lie; None where that is the same to it."""
        return None

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """What keeps it from adding to arrays of these types: half sentences about its operation."""
        del trace
        yield from ()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plain(Drive):
    """Values as they are."""

    values: tuple[Value | None, ...]
    """One for each array of the trace; None for nothing."""

    def terms(self, scene: Scene) -> list[Any]:
        """The values."""
        return [None if value is None else scene[value] for value in self.values]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """A value for each array of the trace, of its shape."""
        yield from not_as_many(self.values, "value", trace, "array")
        for value, kind in zip(kinds_of(self.values), trace, strict=False):
            yield from misshapen("value to add", [value], kind.shape)
            yield from too_narrow(kind, [value])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Outer(Drive):
    """`f (x) x`: what a step's use of the weight adds to the derivative of the states by the weight."""

    association: Association
    factors: tuple[Value | None, ...]
    """`f` for each array of the trace, as `Sensitivity` has it, at what the site feeds; None where it is zero."""
    data: Value | None
    """`x`; None for an operation without data."""
    reach: Coupling | None = None
    """The positions that the trace is followed to, where they are not what the site feeds."""
    alike: str = ""
    """Labels of the weight's axes that the trace has not, since it is the same along them."""

    @property
    def placement(self) -> Placement:
        """On the reach."""
        return Placement(self.association, self.reach, self.alike)

    def terms(self, scene: Scene) -> list[Any]:
        """`f (x) x` in the trace's layout."""
        place = self.placement
        data = None if self.data is None else scene[self.data]
        factors = [None if f is None else jax.lax.optimization_barrier(place.widened(scene[f])) for f in self.factors]
        return [None if f is None else place.outer(f, data) for f in factors]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """A factor for each array of the trace, and data as the site has them; the trace is laid out on the reach."""
        yield from not_as_many(self.factors, "factor", trace, "array")
        yield from data_faults(self.association.site, self.data)
        unplaced = list(placement_faults(self.association, self.reach, self.alike))
        yield from unplaced
        if not unplaced:
            yield from misshapen("trace", trace, self.placement.shape)
        if not unplaced and self.association.union is None:
            yield "adds what a site feeds to states that it does not feed"
        elif not unplaced:
            fed = Placement(self.association).output_shape
            yield from misshapen("factor to add", kinds_of(self.factors), fed)
        for factor, kind in zip(self.factors, trace, strict=False):
            if factor is not None:
                yield from too_narrow(kind, kinds_of([factor, self.data]))


def data_faults(site: Site, data: Value | None) -> Iterator[str]:
    """What is wrong with an array that stands in the place of a site's data."""
    if (data is None) != (site.data is None):
        yield "has no data where its site has some" if data is None else "has data where its site has none"
    elif data is not None and site.data is not None:
        yield from misshapen("data array", [data.type], site.data.type.shape)


def plus(a: Any, b: Any) -> Any:
    """The sum of two arrays, either of which may be None for nothing."""
    return b if a is None else a if b is None else a + b


def total(carried: Sequence[Any], added: Sequence[Any], trace: Arrays) -> list[Any]:
    """`A E + b`, in the element types of the trace."""
    new: list[Any] = []
    for old, a, b in zip(trace, carried, added, strict=True):
        found = plus(a, b)
        new.append(jnp.zeros_like(old) if found is None else found.astype(old.dtype))
    return new
