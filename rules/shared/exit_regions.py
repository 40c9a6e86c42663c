"""What a step offers to rules that read their traces at its exit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import NamedTuple, Protocol

from ...ir.observable import Observable
from ...ir.transition import Group, Region, Site, State
from ...ir.values import Value


class Exits(Protocol):
    """The regions that are pulled back at each step's exit, made when first asked for."""

    def observables(self) -> tuple[Observable, ...]:
        """What the step shows of each group that has traces."""
        ...

    def whole(self) -> Region:
        """From the shifts of sites to outputs."""
        ...

    def shown(self) -> Region:
        """From the shifts of sites to observables."""
        ...

    def seen(self) -> Region:
        """From the shifts of observables to outputs."""
        ...

    def onward(self) -> Onward:
        """How what the step shows comes to hidden states within that step."""
        ...

    def reaches(self, site: Site, states: Sequence[State]) -> bool:
        """Whether a step's outputs say anything, in that same step, of a site or of some old states."""
        ...


class Onward(Protocol):
    """What the step shows, the outputs of sites that no trace is on included, and where that comes to."""

    @property
    def shown(self) -> Sequence[Observable | Site]:
        """What is shown, in the order of the results of the second region."""
        ...

    def reached(self) -> Mapping[Observable | Site, Set[Group]]:
        """The groups whose new states each of these comes to."""
        ...

    def regions(self) -> tuple[Region, Region]:
        """From a step to its slopes; from slopes, weights and cotangents of hidden states to those of what is shown."""
        ...


class Returned(NamedTuple):
    """Credit that a step sends back: cotangents of the hidden states as they entered, and of sites' outputs."""

    states: dict[State, Value]
    sites: dict[Site, Value]
