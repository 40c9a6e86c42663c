"""bptt: reverse mode inside the window, and nothing before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .base import Rule, Task
from .writer import Writer


@dataclass(frozen=True)
class Bptt(Rule):
    """Truncated backpropagation through time (Williams and Peng 1990): no traces.

    Memory: the window's states. Cost: reverse mode alone. Exact where the window is the whole sequence.
    """

    name: ClassVar[str] = "bptt"
    needs_sites: ClassVar[bool] = False

    def write(self, plan: Writer, task: Task) -> None:
        """Nothing: reverse mode is in every plan."""
        del plan, task
