"""What a pass is: a frozen dataclass whose fields are its options, and a function from transition to transition."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from ..ir.transition import Transition
from .options import options_text


@dataclass(frozen=True)
class Pass(ABC):
    """A rewrite or an analysis of a transition.

    A subclass is a frozen dataclass too. It sets `name` (lower case, words joined by hyphens) and writes `run`; its
    fields are the options that a textual pipeline can set. Passes hold no state and compare by class and options.
    """

    name: ClassVar[str]

    @abstractmethod
    def run(self, transition: Transition) -> Transition:
        """The transition after the pass: the very object that was given, where there is nothing to change.

        Raises EtirError where the user's program is at fault; any other exception is a bug.
        """

    def __str__(self) -> str:
        """The pass as a textual pipeline: its name, then the options that differ from their defaults."""
        text = options_text(self)
        return f"{self.name}{{{text}}}" if text else self.name
