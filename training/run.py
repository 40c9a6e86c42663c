"""Where a training stands: what callbacks read, and may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..backends import Carry, Learner
from .history import History, Row


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """A training under way. It changes as the training goes on; a callback that keeps something copies it."""

    learner: Learner
    params: Any
    opt_state: Any
    carry: Carry
    epochs: int
    """How many there are to be, in all."""
    sequence: str = "batch"
    """How long a sequence is, as `fit` was told."""
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What `learner.train` was told."""
    expected: int | None = None
    """Batches of all epochs, where that is known."""
    epoch: int = 0
    """Epochs that are over."""
    batch: int = 0
    """Batches of this epoch that are over."""
    updates: int = 0
    """Calls of `train` in all epochs, resumed ones included."""
    total: float = 0.0
    """The losses of this epoch's steps, added up."""
    steps: int = 0
    """The steps of this epoch that counted."""
    rows: list[Row] = field(default_factory=list)
    """The epochs that are over; callbacks of an epoch's end may write into the last one."""
    stopped: str = ""
    """Why the training ends before its time; empty where it does not."""

    @property
    def history(self) -> History:
        """The epochs that are over."""
        return History(tuple(self.rows))

    @property
    def loss(self) -> float:
        """The mean loss of this epoch's steps so far; NaN before the first."""
        return self.total / self.steps if self.steps else float("nan")

    def stop(self, why: str) -> None:
        """End the training after this batch, or after this epoch where one has just ended."""
        self.stopped = why
