"""What a step offers to rules that read their traces at its exit."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from ...ir.observable import Observable
from ...ir.transition import Region, Site, State
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

    def fed(self) -> Region:
        """From the shifts of observables to outputs of sites."""
        ...

    def feeds(self) -> Mapping[Observable, Collection[Site]]:
        """The sites whose outputs each observable comes to within the step."""
        ...

    def reaches(self, site: Site, states: Sequence[State]) -> bool:
        """Whether a step's outputs say anything, in that same step, of a site or of some old states."""
        ...


class Returned(NamedTuple):
    """Credit that a step sends back: cotangents of the hidden states as they entered, and of sites' outputs."""

    states: dict[State, Value]
    sites: dict[Site, Value]
