"""The XLA backend: structured traces, advanced in place."""

from __future__ import annotations

from typing import Any

from ..calls import Arrays
from .driver import SequenceGradient
from .engine import Engine as WindowEngine
from .stepping import TraceState


class Engine(WindowEngine):
    """The XLA backend's engine: windows, and the folded driver over sequences."""

    def gradient(
        self, loss: Any, params: Arrays, states: Arrays, traces: TraceState, inputs: Arrays, targets: Any
    ) -> tuple[Any, ...]:
        """Gradients, losses, states, traces and auxiliary results of a sequence; see `backends.drivers`."""
        return SequenceGradient(self, loss, params).run(states, traces, inputs, targets)


__all__ = ["Engine"]
