"""The Pallas backend: the XLA backend, with kernels for NVIDIA GPUs (Mosaic GPU, compute capability 9.0 and later).

Each kernel takes the place of a pattern that has been matched whole, and has an XLA twin that gives the same: the
twin runs on other devices. Pallas is imported where a kernel is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import ClassVar

from ..backend import Choice
from ..folds.pattern import Sweep
from ..xla import Xla
from .wins import WINS, Win, win_of


@dataclass(frozen=True)
class Pallas(Xla):
    """Plans by kernels where there are any, by XLA code elsewhere."""

    name: ClassVar[str] = "pallas"

    forced: bool = True
    """Whether a kernel runs wherever it can; else where a win is recorded."""
    interpreted: bool | None = None
    """Whether kernels are interpreted on a CPU; by default where they are forced, and there is no GPU."""
    wins: tuple[Win, ...] = WINS
    """What is on record."""

    def choose(self, sweep: Sweep) -> Choice:
        """Kernel 1 for traces that are matrices."""
        if not self.forced and not self.wins:
            return Choice(kernel="xla", reason="no win of a kernel is on record")
        if find_spec("absl") is None:
            return Choice(kernel="xla", reason="Pallas for GPUs needs the package absl-py: pip install 'etir[gpu]'")
        from .target import interprets
        from .trace_pass import RankKPass, fault, outline

        reason = fault(sweep)
        if reason is not None:
            return Choice(kernel="xla", reason=reason)
        won = win_of("rank-k", sum(trace.before.type.bytes for trace in sweep.traces), self.wins)
        if not self.forced and won is None:
            return Choice(kernel="xla", reason="no win of rank-k is on record for this size")
        interpreted = self.forced and interprets() if self.interpreted is None else self.interpreted
        reason = "it was asked for" if won is None else f"{won.ratio:g} times as fast as XLA's code on {won.card}"
        return Choice(kernel="rank-k", reason=reason, emitted=outline(sweep), run=RankKPass(interpreted))


__all__ = ["WINS", "Pallas", "Win"]
