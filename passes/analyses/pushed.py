"""Which contributions are read off tangents that are pushed through the whole step, and what such a reading follows."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.plan import Apply, Bundle, ContractPushed, Operation, Product, Push, Units
from ...ir.transition import Site, Transition
from ...ir.values import Value
from .provenance import Provenance
from .samples import Samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """A use of a weight that is followed by every path through the step."""

    site: Site
    estimates: str = ""
    """Of which rule's gradient the reading is an unbiased estimate; nothing where it is the derivative itself."""


class PushedTraces:
    """The patterns `E' = J E + x f`, read as `<h_bar, E>`, and `u (x) A`, which an estimate makes of `J A` and `f`."""

    def __init__(self, transition: Transition, provenance: Provenance) -> None:
        """Prepare for the values of one plan."""
        self.made = provenance
        self.samples = Samples(transition)

    def follows(self, op: Operation | None) -> Pushed | None:
        """What the operation that makes a contribution follows; None where it is no such pattern, or not wholly."""
        read = self.made.maker.get(op.cotangent) if type(op) is Product else op
        if type(read) is not ContractPushed or read.cotangents != self.made.entering:
            return None
        if read.apart and not self.samples.apart(read.site):
            return None
        traces = [self.made.trace_of.get(v) for v in read.trace]
        if any(t is None or t.start is not None or t.before is not v for t, v in zip(traces, read.trace, strict=True)):
            return None
        after = tuple(t.after for t in traces if t is not None)
        if type(op) is Product:
            return self._estimated(op, read, after)
        return self._exact(read, after)

    def _exact(self, read: ContractPushed, after: tuple[Value, ...]) -> Pushed | None:
        push, site = self.made.maker.get(after[0]), read.site
        if type(push) is not Push or push.results != after or push.tangents != read.trace or push.sites != (site,):
            return None
        units = self.made.maker.get(push.shifts[0])
        if not isinstance(units, Units):
            return None
        right = (units.site, units.apart) == (site, read.apart) and units.scale is site.data
        whole = right and units.labels == (site.data_labels or "") and not Bundle(site, read.apart).contracts
        return Pushed(site=site) if whole else None

    def _estimated(self, op: Product, read: ContractPushed, after: tuple[Value, ...]) -> Pushed | None:
        """The pattern of an estimate: what it is made of; that its mean is right is its author's word."""
        made, site = self.made.maker.get(after[0]), read.site
        data = self.made.trace_of.get(op.data) if op.data is not None else None
        if type(made) is not Apply or not made.estimates or data is None or op.site is not site:
            return None
        if not {*after, data.after}.issubset(made.results) or site.data not in made.values:
            return None
        makers = [m for m in (self.made.maker.get(v) for v in made.values) if type(m) is Push]
        carried = any(m.tangents == read.trace and not m.sites for m in makers)
        fed = any(not m.tangents and m.sites == (site,) for m in makers)
        return Pushed(site=site, estimates=made.estimates) if carried and fed else None
