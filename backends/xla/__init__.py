"""The XLA backend: structured Jacobians by a few pull-backs, traces advanced in place, one pass a fold.

A kernel for one operation is a function in a file here, named in `overrides`; one for a pattern of several is a
`Kernel` (backends/backend.py), given by `kernels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...ir.plan import AdvanceFull, Along, Jacobian, Operation, Pull, Sensitivity
from ...ir.transition import Transition
from ..backend import Backend, Override
from .along import Forwards
from .influence import Influence
from .probe import Probes
from .pull import Pulls


@dataclass(frozen=True)
class Xla(Backend):
    """Plans as XLA likes them."""

    name: ClassVar[str] = "xla"
    by_sites: ClassVar[bool] = True
    folds: ClassVar[bool] = True

    def overrides(self, transition: Transition) -> Mapping[type[Operation], Override]:
        """Jacobians and sensitivities by pulling back ones; influence matrices by unit cotangents."""
        assert transition.plan is not None
        probes = Probes(transition, transition.plan)
        return {
            Jacobian: probes.jacobian,
            Sensitivity: probes.sensitivity,
            Along: Forwards(transition).along,
            Pull: Pulls(transition).pull,
            AdvanceFull: Influence(transition, transition.plan).advance,
        }


__all__ = ["Xla"]
