"""What a case of the suite is, and choosing some: `python -m benchmarks --suite quick|full|gpu`."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from .record import Record

Name = Literal["quick", "full", "gpu"]
SUITES: tuple[Name, ...] = ("quick", "full", "gpu")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a case is run with: which suite, how many rounds, how fast the machine copies, how many cores it may use."""

    suite: Name
    rounds: int
    bandwidth: float
    cores: int
    dry: bool = False
    """Whether nothing is to be learned but that everything runs, kernels interpreted."""

    @property
    def quick(self) -> bool:
        """Whether sizes should be small: everything runs, nothing is concluded."""
        return self.suite == "quick" or self.dry

    def size(self, full: int, quick: int) -> int:
        """The one for this suite."""
        return quick if self.quick else full

    def most(self, cores: float, one: float | None = None) -> float | None:
        """A bound on time that holds at full size on a CPU: on several cores, or, where given, on one."""
        if self.suite != "full" or self.dry:
            return None
        return one if one is not None and self.cores == 1 else cores


@dataclass(frozen=True, slots=True)
class Case:
    """A part of the suite: a name to ask for it by, and what it measures."""

    name: str
    run: Callable[[Settings], Sequence[Record]]
    suites: tuple[Name, ...] = ("quick", "full")
    about: str = ""


def chosen(cases: Sequence[Case], suite: Name, patterns: Sequence[str]) -> list[Case]:
    """The cases of a suite whose names match one of `patterns`; raises ValueError where none does."""
    found = [c for c in cases if suite in c.suites and any(fnmatch.fnmatch(c.name, p) for p in patterns or ["*"])]
    if not found:
        known = ", ".join(c.name for c in cases if suite in c.suites)
        raise ValueError(f"no case of the {suite} suite is called {' or '.join(patterns)}; it has {known}")
    return found
