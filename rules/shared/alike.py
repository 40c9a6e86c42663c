"""Axes of a weight along which its trace is one and the same, as that of a leaky memory is for all its units."""

from __future__ import annotations

from collections.abc import Collection

from ...ir.plan import Placement
from ...ir.transition import Association, Region, Transition
from ...ir.unchanging import Axes, Unchanging


class Alike:
    """What is known of the traces of one transition."""

    def __init__(self, transition: Transition) -> None:
        """Prepare."""
        self.transition = transition
        self._regions: dict[str, Unchanging] = {}

    def along(self, association: Association, states: Collection[int]) -> str:
        """The labels of a weight's axes along which neither Jacobian nor sensitivity of these states changes.

        Only those that the data lack, and where each output position alone feeds the state positions that it does, and
        the Jacobian is diagonal: then the trace, begun with zeros, is the same along them, whatever the step is given.
        Where samples are left out or begin anew one by one, the step says so, and its Jacobian is not the same along
        them. `states` are the places in the group of those that the trace is of.
        """
        site, group = association.site, association.group
        place = Placement(association)
        labels = [x for x in site.weight_labels if x in site.expression.output and x not in (site.data_labels or "")]
        types = [site.output.type, *(group.states[k].before.type for k in states)]
        if not labels or place.targets is None or any(kind.is_complex for kind in types):
            return ""
        axes = place.targets.input_axes()
        wide = {axis for axis, size in enumerate(site.output.type.shape) if size > 1}
        couplings = {(i, j): group.dependence(group.states[i], group.states[j]) for i in states for j in states}
        pairs = {pair: coupling for pair, coupling in couplings.items() if coupling is not None}
        if not wide <= set(axes.values()) or not all(coupling.is_identity for coupling in pairs.values()):
            return ""
        fixed = frozenset.intersection(*self._derivatives(association, states, pairs))
        lies = {x: {at for at, axis in axes.items() if axis == site.expression.output.index(x)} for x in labels}
        return "".join(x for x in labels if lies[x] and lies[x] <= fixed)

    def _given(self, region: Region) -> list[Axes]:
        """Of a region's arguments: nothing is known but of what is added to sites' outputs, which is zero."""
        shifts = [frozenset(range(len(site.output.type.shape))) for site in self.transition.sites]
        return [*[frozenset[int]()] * (len(region.inputs) - len(shifts)), *shifts]

    def _derivatives(
        self, association: Association, states: Collection[int], pairs: Collection[tuple[int, int]]
    ) -> list[Axes]:
        """Of each Jacobian and each sensitivity the axes of the group along which it does not change."""
        t, group = self.transition, association.group
        region = t.region(group.region)
        if group.region not in self._regions:
            self._regions[group.region] = Unchanging(region.body, self._given(region))
        known = self._regions[group.region]
        shift = known.arguments[len(known.arguments) - len(t.sites) + t.sites.index(association.site)]
        new = {k: known.results[t.hidden.index(group.states[k])] for k in states}
        old = {k: known.arguments[region.inputs.index(group.states[k].before)] for k in states}
        fed = [k for k in states if association.couplings[k] is not None]
        return [known.derivative(new[i], old[j]) for i, j in pairs] + [known.derivative(new[k], shift) for k in fed]
