"""What an operation may look at when it runs: values, and at a window's end the window's own arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import jax

from ..values import Value

if TYPE_CHECKING:
    from ..transition import Transition

Arrays: TypeAlias = list[jax.Array]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WindowRun:
    """One window that was run: lists follow the transition's order; inputs have a leading time axis."""

    params: Arrays
    states: Arrays
    """All states as they entered."""
    inputs: Arrays
    steps: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scene:
    """The place in a program where an operation runs."""

    transition: Transition
    values: dict[Value, Any]
    """Values of the plan so far, and of the model: a step's at a step; weights, entering and leaving states at a
    window's end."""
    window: WindowRun | None = None
    """The window, at its end."""
    totals: dict[Value, Any] = field(default_factory=dict[Value, Any])
    """At a window's end, sums over its steps of the values that some operation asks the sum of."""
    memo: dict[Any, Any] = field(default_factory=dict[Any, Any])
    """What the operations of one step share, such as a group's pull-backs."""

    def __getitem__(self, value: Value) -> Any:
        return self.values[value]

    def read(self, values: Sequence[Value]) -> Arrays:
        """Some values, in order."""
        return [self.values[value] for value in values]

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """What `compute` gives, computed once a scene for each key."""
        if key not in self.memo:
            self.memo[key] = compute()
        return self.memo[key]

    def run(self, operation: Any, overrides: Any = None) -> None:
        """Add an operation's results to the values: by an override where there is one, else by its definition."""
        override = (overrides or {}).get(type(operation))
        found = operation.evaluate(self) if override is None else override(operation, self)
        self.values.update(zip(operation.results, found, strict=True))
