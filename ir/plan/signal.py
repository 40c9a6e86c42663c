"""What the loss says at each step's exit, and sums over a window's steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..types import TensorType
from ..values import Value
from .operation import STEP, WINDOW, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LossSignal(Operation):
    """The derivative of a step's loss by the step's outputs: one result for each output that carries credit.

    Known only once the loss is; the engine binds its results, so it has no value of its own.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the outputs that carry credit."""
        return tuple(output.value.type for output in t.outputs if output.value.type.carries_credit)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """What the engine has bound."""
        return tuple(scene.read(self.results))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Total(Operation):
    """The sum over the window's steps of a value that each of them computes."""

    phases: ClassVar[tuple[str, ...]] = (WINDOW,)

    value: Value

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of the value."""
        del t
        return (self.value.type,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """What the engine has added up."""
        return (scene.totals[self.value],)

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """Nothing of the window's end: the sum is made on the way."""
        del t
        return ()
