"""What a step shows of its hidden groups to the operations that mix positions, and to its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..coupling import Coupling
from .transition import Group, Site
from .types import TensorType


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Observable:
    """A value that is a function of one group position by position, where something reads it that is not.

    The spikes of a layer are one, where they enter the product of the readout or of the next layer; the new state
    itself is one, where it enters such a product as it is. (The observable state `z` of Bellec et al. 2020.)
    """

    group: Group
    type: TensorType
    variable: Any
    """The variable of the step region."""
    uses: frozenset[int]
    """The places of the equations that so read it; `-1 - k` for output `k`."""
    sites: Mapping[Site, Coupling]
    """How it depends on the outputs of sites, nothing held between."""
