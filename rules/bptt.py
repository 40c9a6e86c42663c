"""bptt: reverse mode inside the window, and nothing before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..ir.transition import Label, Param, Reason, Verdict
from .base import Rule

if TYPE_CHECKING:
    from ..passes.evidence import Finding


@dataclass(frozen=True)
class Bptt(Rule):
    """Truncated backpropagation through time (Williams and Peng 1990): no traces."""

    name: ClassVar[str] = "bptt"
    positional: ClassVar[bool] = False

    def label(self, param: Param, finding: Finding) -> Label:
        """Truncated wherever the parameter reaches a hidden state."""
        if not finding.reaches:
            return self.outside(param)
        return self.entry(
            param, Verdict.TRUNCATED, Reason(text="bptt carries no trace: credit ends where the window begins")
        )
