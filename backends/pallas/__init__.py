"""The Pallas backend: the XLA backend, with kernels for NVIDIA GPUs (Mosaic GPU, compute capability 9.0 and later).

Each kernel takes the place of a pattern that has been matched whole, and has an XLA twin that gives the same: the
twin runs on other devices. Pallas is imported where a kernel is chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

from ...coupling.primitives.picked import Picked
from ...ir.transition import Site
from ..backend import Choice
from ..folds.pattern import Sweep, Unit
from ..xla import Xla
from .wins import WINS, Win, win_of


@dataclass(frozen=True)
class Pallas(Xla):
    """Plans by kernels where there are any, by XLA code elsewhere."""

    name: ClassVar[str] = "pallas"
    reads_picked: ClassVar[bool] = True

    forced: bool = True
    """Whether a kernel runs wherever it can; else where a win is recorded."""
    interpreted: bool | None = None
    """Whether kernels are interpreted on a CPU; by default where they are forced, and there is no GPU."""
    wins: tuple[Win, ...] = WINS
    """What is on record."""

    def choose(self, sweep: Sweep) -> Choice:
        """Kernel 1 for traces that are matrices, kernel 3 for those of edges."""
        refused = self._refused()
        if refused is not None:
            return refused
        size = sum(trace.before.type.bytes for trace in sweep.traces)
        if sweep.picked is not None:
            from . import edge_traces

            outline = partial(edge_traces.outline, sweep)
            return self._chosen("edges", edge_traces.fault(sweep), size, outline, edge_traces.EdgePass)
        from . import trace_pass

        outline = partial(trace_pass.outline, sweep)
        return self._chosen("rank-k", trace_pass.fault(sweep), size, outline, trace_pass.RankKPass)

    def choose_history(self, unit: Unit) -> Choice:
        """Kernel 2 for units whose Jacobians are diagonal; kernel 4 where what these follow from is no larger."""
        refused = self._refused()
        if refused is not None:
            return refused
        from .history import SuffixSweep, fault, map_of, outline

        size = sum(state.before.type.bytes for state in unit.group.states)
        wrong = fault(unit)
        remakes = wrong is None and not isinstance(map_of(unit), str)
        kernel = "map-suffix" if remakes else "suffix"
        choice = self._chosen(kernel, wrong, size, lambda: outline(unit), SuffixSweep)
        return replace(choice, remakes=remakes and choice.run is not None)

    def choose_product(self, site: Site, picked: Picked) -> Choice:
        """Kernel 3, without a trace, for sites over edges; else what XLA does with what is picked."""
        choice = self._refused()
        if choice is None:
            from .edge_traces import EdgeProduct, product_fault, product_outline

            assert site.data is not None
            outline, wrong = partial(product_outline, site, picked), product_fault(site, picked)
            choice = self._chosen("edge-product", wrong, site.data.type.bytes, outline, EdgeProduct)
        return choice if choice.run is not None else replace(choice, run=super().choose_product(site, picked).run)

    def _refused(self) -> Choice | None:
        """XLA code, where no kernel is to be thought of."""
        if not self.forced and not self.wins:
            return Choice(kernel="xla", reason="no win of a kernel is on record")
        if find_spec("absl") is None:
            return Choice(kernel="xla", reason="Pallas for GPUs needs the package absl-py: pip install 'etir[gpu]'")
        return None

    def _chosen(
        self, kernel: str, fault: str | None, size: int, outline: Callable[[], str], run: Callable[[bool], Any]
    ) -> Choice:
        """A kernel, where nothing is against it and it was asked for or has won for arrays of so many bytes."""
        from .target import interprets

        if fault is not None:
            return Choice(kernel="xla", reason=fault)
        won = win_of(kernel, size, self.wins)
        if not self.forced and won is None:
            return Choice(kernel="xla", reason=f"no win of {kernel} is on record for this size")
        interpreted = self.forced and interprets() if self.interpreted is None else self.interpreted
        reason = "it was asked for" if won is None else f"{won.ratio:g} times as fast as XLA's code on {won.card}"
        return Choice(kernel=kernel, reason=reason, emitted=outline(), run=run(interpreted))


__all__ = ["WINS", "Pallas", "Win"]
