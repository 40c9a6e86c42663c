"""The passes, one a file, in order: from a lowered step to a certified transition with a plan."""

from __future__ import annotations

from .associate_weights import AssociateWeights
from .base import Pass
from .canonicalise import Canonicalise
from .certify import Certify
from .classify_coupling import ClassifyCoupling
from .discover_states import DiscoverStates
from .follow_credit import FollowCredit
from .freeze_params import FreezeParams
from .group_states import GroupStates
from .hold_traces import HoldTraces
from .ingest import ingest
from .manager import PassManager
from .mark_sites import MarkSites
from .plan_traces import PlanTraces
from .reassociate import Reassociate
from .slice_regions import SliceRegions
from .sum_edges import SumEdges

ANALYSIS: tuple[type[Pass], ...] = (
    Canonicalise,
    DiscoverStates,
    FreezeParams,
    Reassociate,
    SumEdges,
    MarkSites,
    FollowCredit,
    SliceRegions,
    GroupStates,
    AssociateWeights,
    ClassifyCoupling,
)
"""The analysis passes, in order; `PlanTraces`, `HoldTraces` and `Certify` follow, for a rule."""

KNOWN: dict[str, type[Pass]] = {kind.name: kind for kind in (*ANALYSIS, PlanTraces, HoldTraces, Certify)}
"""Every pass of this package, by name."""

__all__ = [
    "ANALYSIS",
    "KNOWN",
    "AssociateWeights",
    "Canonicalise",
    "Certify",
    "ClassifyCoupling",
    "DiscoverStates",
    "FollowCredit",
    "FreezeParams",
    "GroupStates",
    "HoldTraces",
    "MarkSites",
    "Pass",
    "PassManager",
    "PlanTraces",
    "Reassociate",
    "SliceRegions",
    "SumEdges",
    "ingest",
]
