"""Plans: the trace program of a learning rule, as operations in static single assignment.

A plan has what is carried (the `traces`), what happens at every `step`, and what happens at a `window`'s end. Every
backend executes it, operation by operation; it is free in the schedule, never in the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import jax.numpy as jnp

from ..diagnostics import error
from ..loc import Loc
from ..types import TensorType
from ..values import Value
from .apply import Apply
from .cost import Cost
from .operation import Operation

if TYPE_CHECKING:
    from ..transition import Param


T = TypeVar("T", bound=Operation)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trace:
    """An array carried along: `before` a step (or a window, for one that only windows advance) and `after` it."""

    before: Value
    after: Value
    label: str
    """What it is, for people: `cell.Wz on cell.h`."""
    start: str | None = None
    """The region that makes its value at the beginning of a sequence from a key, `u32[2]`; None for zeros."""
    loc: Loc | None = None

    def held_as(self, dtype: str | None) -> TensorType:
        """What it is held as, where an element type (real; None for the trace's own) is asked for."""
        kind = self.before.type
        if dtype is None or not kind.carries_credit:
            return kind
        wide = str(jnp.promote_types(dtype, jnp.complex64)) if kind.is_complex else dtype
        return TensorType(wide, kind.shape)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Signal:
    """An array that each step of the learner is given beside the model's inputs, as a neuromodulator is."""

    path: str
    value: Value
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """A learning rule's trace program for one transition."""

    rule: str
    window: int
    credit: str
    rules: tuple[str, ...] = ()
    """The rule of each parameter, where they are not all `rule`."""
    left: tuple[Param, ...] = ()
    """The parameters whose rule carries no trace by its nature, for what labels say of them."""
    because: tuple[str, ...] = ()
    """Why each parameter has the rule that it has, where a rule has chosen it; nothing for one that was asked for."""
    window_because: str = ""
    """Why the window is as long as it is, where it was chosen; nothing for one that was asked for."""
    fold: int = 0
    """The most steps between two passes over a trace while the weights are held, where that was chosen; else 0."""
    fold_because: str = ""
    """Why it is as long as it is."""
    signals: tuple[Signal, ...] = ()
    traces: tuple[Trace, ...] = ()
    step: tuple[Operation, ...] = ()
    at_window: tuple[Operation, ...] = ()
    loc: Loc | None = None

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation, in program order."""
        return (*self.step, *self.at_window)

    @property
    def of_sequence(self) -> tuple[Trace, ...]:
        """The traces that are zeros where a sequence begins; what is drawn, and what is learned by windows, goes on."""
        learned = {value for op in self.at_window if isinstance(op, Apply) for value in op.results}
        return tuple(trace for trace in self.traces if trace.start is None and trace.after not in learned)

    def only(self, kind: type[T]) -> T:
        """The one operation of a class at a window's end. Raises EtirError where there is not one.

        Every plan that runs has one reverse mode and one pull-back.
        """
        found = [op for op in self.at_window if type(op) is kind]
        if len(found) != 1:
            raise error(
                "plan-ends",
                f"the plan has {len(found)} operations '{kind.__name__}' at a window's end; wanted one",
                loc=self.loc,
                help="reverse mode begins every plan's window, and the pull-back ends it",
            )
        return found[0]

    def cost(self) -> Cost:
        """The cost of one step, the model's own step and its reverse mode left out; windows are spread over steps."""
        chosen = f"window {self.window}: {self.window_because}" if self.window_because else ""
        total = Cost(held=float(sum(trace.before.type.bytes for trace in self.traces)), because=chosen)
        for _, cost in self.costs():
            total += cost
        return total

    def costs(self) -> Iterator[tuple[Operation, Cost]]:
        """Each operation and its cost in one step; what happens at a window's end is spread over its steps."""
        yield from ((operation, operation.cost(self.window)) for operation in self.step)
        yield from ((operation, operation.cost(self.window).over(self.window)) for operation in self.at_window)
