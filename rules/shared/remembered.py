"""What a step says of how long its hidden groups remember."""

from __future__ import annotations

from typing import Any, Protocol

import numpy.typing as npt

from ...ir.transition import Group


class Memories(Protocol):
    """How groups carry what they hold from step to step, at the example values of the parameters."""

    def moves(self, group: Group) -> bool:
        """Whether what carries a group's states differs between steps."""
        ...

    def factors(self, group: Group) -> npt.NDArray[Any]:
        """The factors by which what a group holds shrinks in a step, of those that do not move."""
        ...
