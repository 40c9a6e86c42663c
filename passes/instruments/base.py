"""What an instrument is: something that watches passes run."""

from __future__ import annotations

from collections.abc import Sequence

from ...ir.transition import Transition
from ..base import Pass


class Instrument:
    """Hooks around every pass of a manager; each does nothing here, and a subclass writes those that it needs."""

    def before(self, pass_: Pass, transition: Transition) -> None:
        """Called before `pass_` runs on `transition`."""

    def after(self, pass_: Pass, before: Transition, after: Transition) -> None:
        """Called when `pass_` has turned `before` into `after`."""

    def failed(self, remaining: Sequence[Pass], transition: Transition, failure: Exception) -> None:
        """Called when the first of the `remaining` passes raised `failure` on `transition`, before it is raised on."""

    def finished(self) -> None:
        """Called when the manager is done, whether or not a pass failed."""
