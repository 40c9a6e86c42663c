"""What learners carry from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from ..ir.diagnostics import EtirError, error
from .carry_summary import carry_summary


class Unfinished(NamedTuple):
    """A window that a resumable call has begun and not ended: the call that ends it takes its steps."""

    states: Any
    """The states that it began with. Those of the carry are the latest, after its steps so far."""
    steps: Any
    """The inputs, the signals and the targets of its steps so far, with a leading time axis."""

    @property
    def place(self) -> int:
        """The number of its steps so far."""
        return jax.tree.leaves(self.steps)[0].shape[0]


class _Fields(NamedTuple):
    states: Any
    traces: Any
    """One array for each trace of the plan; then, in a tuple, what the last step left for the next one to add to them.

    `()` stands for a trace that follows from the others and that last step, and is not carried.
    `learner.traces(carry)` has them as they are after the last step.
    """
    cut: Any = None
    """The states once more, without a derivative: how a call knows whether those that it is given are a call's own."""
    unfinished: Unfinished | None = None
    """The window that a resumable call has left open; traces are then those that it began with."""


class _InitialFields(NamedTuple):
    states: Any
    traces: Any
    initial: Any
    """The values that the learned states began with, by path: gradients by them come here."""
    begun: Any
    """Whether a step has been taken."""
    cut: Any = None
    """The states once more, without a derivative."""
    unfinished: Unfinished | None = None
    """The window that a resumable call has left open."""


class Carry(_Fields):
    """What a learner carries from step to step: the model's states and the traces, which belong to them.

    `learner.reset(carry, states)` begins another sequence. That traces are those of other states is said by giving
    both, `carry._replace(states=..., traces=...)` or `Carry(states, traces)`; states alone are refused. States of your
    own may not be differentiated: the call that is given them raises EtirError then.
    """

    __slots__ = ()

    def __new__(cls, states: Any, traces: Any, cut: Any = None, unfinished: Unfinished | None = None) -> Self:
        """Hold these; where `cut` is not given, it is the states as they are."""
        return super().__new__(cls, states, traces, _again(states) if cut is None else cut, unfinished)

    @property
    def place(self) -> int:
        """How many steps of a window a resumable call has left open; 0 between windows."""
        return 0 if self.unfinished is None else self.unfinished.place

    def _replace(self, **changes: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self)(**_changed(self, changes))

    __replace__ = _replace

    def __repr__(self) -> str:
        return carry_summary(self)


class InitialCarry(_InitialFields):
    """What a learner of initial states carries from step to step."""

    __slots__ = ()

    def __new__(
        cls, states: Any, traces: Any, initial: Any, begun: Any, cut: Any = None, unfinished: Unfinished | None = None
    ) -> Self:
        """Hold these; where `cut` is not given, it is the states as they are."""
        return super().__new__(cls, states, traces, initial, begun, _again(states) if cut is None else cut, unfinished)

    @property
    def place(self) -> int:
        """How many steps of a window a resumable call has left open; 0 between windows."""
        return 0 if self.unfinished is None else self.unfinished.place

    def _replace(self, **changes: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self)(**_changed(self, changes))

    __replace__ = _replace

    def __repr__(self) -> str:
        return carry_summary(self)


def _changed(carry: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a carry after changes; new states come with their own `cut`.

    Raises EtirError inside a window, whose steps will be taken again from where it began, and for states without the
    traces that belong to them.
    """
    if carry.unfinished is not None and not changes.keys().isdisjoint(("states", "traces")):
        raise refuse_unfinished(carry.unfinished, "its states are replaced")
    if "states" in changes and "traces" not in changes and jax.tree.leaves(carry.traces):
        raise error(
            "stale-traces",
            "the carry's states are replaced, and its traces belong to those that it has",
            help="begin another sequence with learner.reset(carry, states); where these traces are meant, say so: "
            "carry._replace(states=states, traces=carry.traces)",
        )
    return carry._asdict() | ({"cut": None} if "states" in changes else {}) | changes


def refuse_unfinished(unfinished: Unfinished, what: str) -> EtirError:
    """The error that says of a carry inside a window that something else is done with it than to go on."""
    return error(
        "carry-unfinished",
        f"the carry is inside a window (steps so far: {unfinished.place}), and {what}",
        help="go on as it was begun, by grad or train with resumable=True; ends=True in such a call ends the window, "
        "with xs[:0] and targets[:0] where there are no more steps",
    )


def _again(states: Any) -> Any:
    """The states in arrays of their own, so that both may be donated."""
    return jax.tree.map(lambda x: jnp.copy(x) if isinstance(x, jax.Array) else x, states)
