"""Small passes that need no model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, ClassVar

from etir.ir.diagnostics import error
from etir.ir.transition import Transition
from etir.passes.base import Pass


class Side(StrEnum):
    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Rename(Pass):
    """Give the transition another name."""

    name: ClassVar[str] = "rename"

    to: str
    prefix: str = ""

    def run(self, transition: Transition) -> Transition:
        name = self.prefix + self.to
        return transition if transition.name == name else replace(transition, name=name)


@dataclass(frozen=True)
class DropOutputs(Pass):
    """Remove every output."""

    name: ClassVar[str] = "drop-outputs"

    def run(self, transition: Transition) -> Transition:
        return replace(transition, outputs=()) if transition.outputs else transition


@dataclass(frozen=True)
class Copy(Pass):
    """Break the contract: a new object that says the same."""

    name: ClassVar[str] = "copy"

    def run(self, transition: Transition) -> Transition:
        return replace(transition)


@dataclass(frozen=True)
class Crash(Pass):
    """Crash: our own mistake."""

    name: ClassVar[str] = "crash"

    def run(self, transition: Transition) -> Transition:
        raise RuntimeError("it fell over")


@dataclass(frozen=True)
class Refuse(Pass):
    """Refuse: the user's mistake."""

    name: ClassVar[str] = "refuse"

    def run(self, transition: Transition) -> Transition:
        raise error("no-hidden-state", f"step '{transition.name}' will not do")


@dataclass(frozen=True)
class Breaks(Pass):
    """Make a transition that is not well formed."""

    name: ClassVar[str] = "breaks"

    def run(self, transition: Transition) -> Transition:
        return replace(transition, weights=())


@dataclass(frozen=True)
class Options(Pass):
    """Have an option of every kind."""

    name: ClassVar[str] = "options"

    text: str = "auto"
    count: int | None = None
    ratio: float = 0.5
    deep: bool = False
    names: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str | Decay], ...] = ()
    side: Side = Side.LEFT
    rule: str | Decay = "plain"
    odd: Any = None

    def run(self, transition: Transition) -> Transition:
        return transition


@dataclass(frozen=True)
class Decay:
    """An object with options of its own."""

    name: ClassVar[str] = "decay"

    factor: float = 0.9


KNOWN: tuple[type[Pass], ...] = (Rename, DropOutputs, Copy, Crash, Refuse, Breaks, Options)
