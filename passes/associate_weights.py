"""associate-weights: which weights reach which groups, through which sites."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..ir.dataflow import Crossing, Dataflow
from ..ir.transition import Association, Group, Site, Transition
from .analyses.dataflow import analyse_dataflow
from .analyses.variables import site_variable, state_variables
from .base import Pass


@dataclass(frozen=True)
class AssociateWeights(Pass):
    """Find the (weight, site, group) triples: the site's output reaches the group's new state in the same step.

    Before: `site %y = etp.dot(%x, %W)`, `group #0 [%h]`.  After: `associate %W at %y` in the group.
    """

    name: ClassVar[str] = "associate-weights"

    def run(self, transition: Transition) -> Transition:
        """The transition with its associations, groups first, then sites, in order."""
        if transition.associations or not transition.sites:
            return transition
        found = tuple(associated(transition, analyse_dataflow(transition), transition.groups))
        return replace(transition, associations=found) if found else transition


def associated(transition: Transition, flow: Dataflow, groups: Iterable[Group]) -> Iterator[Association]:
    """The associations with some groups in the scope of a data-flow, without their couplings."""
    variables = state_variables(transition)
    outputs = {site_variable(transition, site): site for site in transition.sites}
    place = {site: k for k, site in enumerate(transition.sites)}
    held_by = {var: list(_sites_before(flow, var, outputs)) for var in flow.held}
    for group in groups:
        sources = {source: None for state in group.states for source in flow.of(variables[state][1])}
        direct = [outputs[source] for source in sources if source in outputs]
        through: dict[Site, list[Crossing]] = {}
        for source in sources:
            for site in held_by.get(source, ()):
                through.setdefault(site, []).append(flow.held[source].crossing)
        for site in sorted({*through, *direct}, key=place.__getitem__):
            yield _association(site, group, tuple(through.get(site, ())))


def _association(site: Site, group: Group, through: tuple[Crossing, ...]) -> Association:
    unknown = (None,) * len(group.states)
    return Association(site=site, group=group, couplings=unknown, traced=False, through=through, loc=site.loc)


def _sites_before(flow: Dataflow, var: Any, outputs: dict[Any, Site]) -> Iterator[Site]:
    """The sites whose outputs a held value is made from."""
    yield from (outputs[source] for source in flow.held[var].feeds if source in outputs)
