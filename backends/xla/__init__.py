"""The XLA backend: structured Jacobians by a few pull-backs, traces advanced in place, one pass a fold.

A kernel for one operation is a function in a file here, named in `overrides`; one for a pattern of several is a
`Kernel` (backends/backend.py), given by `kernels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from ...coupling.primitives.picked import Picked
from ...coupling.primitives.picks import pays
from ...ir.plan import AdvanceFull, Along, Jacobian, Operation, Pull, Sensitivity
from ...ir.plan.cost import human_bytes
from ...ir.transition import Site, Transition
from ..backend import Backend, Choice, Override
from ..folds.pattern import Sweep
from ..folds.trace_pass import xla_pass
from ..picked import PickedSource
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
    reads_picked: ClassVar[bool] = True

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

    def choose(self, sweep: Sweep) -> Choice:
        """XLA code, which picks the data of each entry of a trace where it takes them in, if they are picked."""
        if sweep.picked is None or sweep.picked.choice.run is None:
            return super().choose(sweep)
        return Choice(kernel="xla", reason=sweep.picked.choice.reason, run=xla_pass, gains=False)

    def choose_product(self, site: Site, picked: Picked) -> Choice:
        """Step by step, where what is picked is large, and much more than it is picked of."""
        if not pays(picked):
            return Choice(
                kernel="xla", reason="what is picked takes little room: it is kept for one product of many steps"
            )
        assert site.data is not None
        reason = f"what is picked takes {human_bytes(site.data.type.bytes)} a step: it is picked once more"
        return Choice(kernel="xla", reason=reason, run=PickedSource.by_steps)


__all__ = ["Xla"]
