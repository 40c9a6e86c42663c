"""What traces are read with at each step's exit, and sums over a window's steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from .. import jaxpr as jx
from ..types import TensorType
from ..values import Value
from .faults import region_missing, type_list
from .operation import STEP, WINDOW, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Group, Transition


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
class ExitSignal(Operation):
    """`L = dl/dh'` of a group at a step's exit: the loss's derivative by each new state, the others held.

    It counts the paths of this same step: through the outputs, and through what other groups make of the new states
    now. `region` is the step with a shift added to each of the group's new states, which are cut from what made them.
    """

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    group: Group
    region: str
    signals: tuple[Value, ...]
    """The loss signal, one value for each output that carries credit."""

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """Those of the group's states."""
        del t
        return tuple(state.after.type for state in self.group.states)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The pull-back of the signals through the region, to its shifts."""
        region = scene.transition.region(self.region)
        count = len(region.inputs) - len(self.group.states)
        given = [jax.lax.stop_gradient(scene[value]) for value in region.inputs[:count]]
        zeros = [jnp.zeros(state.after.type.shape, state.after.type.dtype) for state in self.group.states]
        _, pull = jax.vjp(lambda *shifts: jx.evaluate(region.body, [*given, *shifts]), *zeros)
        return tuple(pull(scene.read(self.signals)))

    def needs(self, t: Transition) -> tuple[Value, ...]:
        """The signals, and what the region takes."""
        region = t.region(self.region)
        return (*self.signals, *region.inputs[: len(region.inputs) - len(self.group.states)])

    def faults(self, t: Transition) -> Iterator[str]:
        """The region is there, takes a shift for each state of the group, and gives what the signals are of."""
        yield from region_missing(t, self.region)
        shifts = [state.after.type for state in self.group.states]
        signals = [value.type for value in self.signals]
        for region in t.regions:
            if region.name != self.region:
                continue
            taken, given = [v.type for v in region.inputs], [v.type for v in region.outputs]
            if taken[-len(shifts) :] != shifts:
                yield f"shifts {type_list(shifts)} in region @{self.region}, which takes {type_list(taken)}"
            if given != signals:
                yield f"pulls {type_list(signals)} back through region @{self.region}, which gives {type_list(given)}"


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
