"""The pass manager: passes in order, watched by instruments that it does not know by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from ..ir.transition import Transition
from .base import Pass
from .instruments.base import Instrument


@dataclass(frozen=True)
class PassManager(Pass):
    """Runs passes in order; is a pass itself, so that managers nest.

    The passes of an inner manager without instruments are seen one by one by the outer manager's instruments. `before`
    hooks run in the order of `instruments`, the other hooks in reverse, as nested scopes would.
    """

    name: ClassVar[str] = "pipeline"

    passes: tuple[Pass, ...] = ()
    instruments: tuple[Instrument, ...] = field(default=(), compare=False)

    def run(self, transition: Transition) -> Transition:
        """The transition after every pass; raises what a pass raises, after the instruments have been told."""
        passes = tuple(self)
        try:
            for index, pass_ in enumerate(passes):
                transition = self._run_one(passes[index:], pass_, transition)
        finally:
            for instrument in reversed(self.instruments):
                instrument.finished()
        return transition

    def _run_one(self, remaining: tuple[Pass, ...], pass_: Pass, transition: Transition) -> Transition:
        for instrument in self.instruments:
            instrument.before(pass_, transition)
        try:
            result = pass_.run(transition)
        except Exception as failure:
            for instrument in reversed(self.instruments):
                instrument.failed(remaining, transition, failure)
            raise
        for instrument in reversed(self.instruments):
            instrument.after(pass_, transition, result)
        return result

    def __iter__(self) -> Iterator[Pass]:
        """The passes in the order of running, inner managers without instruments opened."""
        for pass_ in self.passes:
            if isinstance(pass_, PassManager) and not pass_.instruments:
                yield from pass_
            else:
                yield pass_

    def __str__(self) -> str:
        return ",".join(map(str, self))
