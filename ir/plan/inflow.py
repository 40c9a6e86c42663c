"""What a trace of one site on the states of one group adds to its trace on those of another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...coupling import Coupling
from ..types import TensorType
from ..values import Value
from .faults import kinds_of, misshapen, not_as_many, too_narrow
from .links import entries_shape
from .placement import Placement, placement_faults
from .scene import Scene
from .transfer import Drive, spread, within

if TYPE_CHECKING:
    from ..transition import Association


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Inflow(Drive):
    """`C G`: what a trace of one site on the states of another group adds, by way of those states' old values.

    `E'_k[q, p] += sum_j sum_q' C_kj[q, q'] G_j[q', p]`, for the positions `q` that `E` is followed to and those, `q'`,
    that `G` is: a max-stabiliser that all entries of a matrix read, or the end of a delay line.
    """

    association: Association
    """Whose trace is added to."""
    reach: Coupling
    source: Association
    """Whose trace is added, as it was before the step; of the same site."""
    source_reach: Coupling
    trace: tuple[Value, ...]
    pairs: tuple[tuple[int, int], ...]
    """For each factor the array that it adds to, and the array of `trace` that it multiplies."""
    couplings: tuple[Coupling, ...]
    """For each factor how the new states' positions depend on the old ones of the other group."""
    factors: tuple[Value, ...]
    """At each old position the derivatives of the new positions that it feeds, as `links.entries_shape` has them."""

    @property
    def placement(self) -> Placement:
        """On the reach."""
        return Placement(self.association, self.reach)

    @property
    def source_placement(self) -> Placement:
        """Where the trace that is added lies."""
        return Placement(self.source, self.source_reach)

    def terms(self, scene: Scene) -> list[Any]:
        """`C G` on the reach."""
        old, new = self.source_placement, self.placement
        found: list[list[Any]] = [[] for _ in range(1 + max((of for of, _ in self.pairs), default=-1))]
        for (of, on), coupling, value in zip(self.pairs, self.couplings, self.factors, strict=True):
            matrix = within(new, coupling, scene[value], source=old)
            found[of].append(spread(new, matrix, scene[self.trace[on]], source=old))
        return [sum(terms[1:], terms[0]) if terms else None for terms in found]

    def faults(self, trace: Sequence[TensorType]) -> Iterator[str]:
        """A factor and a coupling for each pair; both traces are of one site, and laid out on their reaches."""
        yield from not_as_many(self.factors, "factor", self.pairs, "pair")
        yield from not_as_many(self.couplings, "coupling", self.pairs, "pair")
        if self.source.site is not self.association.site:
            yield "adds the trace of one site to that of another"
        unplaced = [*placement_faults(self.association, self.reach), *placement_faults(self.source, self.source_reach)]
        yield from unplaced
        if not unplaced:
            yield from misshapen("trace", trace, self.placement.shape)
            yield from misshapen("inflowing trace", kinds_of(self.trace), self.source_placement.shape)
        old, new = self.source.group.shape, self.association.group.shape
        for (of, on), coupling, factor in zip(self.pairs, self.couplings, self.factors, strict=False):
            if not (0 <= of < len(trace) and 0 <= on < len(self.trace)):
                yield f"adds array {on} of {len(self.trace)} to array {of} of {len(trace)}"
            elif (coupling.in_shape, coupling.out_shape) != (old, new):
                yield "has a coupling between other positions than its groups'"
            else:
                yield from misshapen("inflow factor", [factor.type], entries_shape(coupling))
                yield from too_narrow(trace[of], [factor.type, self.trace[on].type])
