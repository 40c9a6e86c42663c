"""What learners carry from step to step."""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp

from .carry_summary import carry_summary


class _Fields(NamedTuple):
    states: Any
    traces: Any
    """One array for each trace of the plan; then, in a tuple, what the last step left for the next one to add to them.

    `()` stands for a trace that follows from the others and that last step, and is not carried.
    `learner.traces(carry)` has them as they are after the last step.
    """
    cut: Any = None
    """The states once more, without a derivative: how a call knows whether those that it is given are a call's own."""


class _InitialFields(NamedTuple):
    states: Any
    traces: Any
    initial: Any
    """The values that the learned states began with, by path: gradients by them come here."""
    begun: Any
    """Whether a step has been taken."""
    cut: Any = None
    """The states once more, without a derivative."""


class Carry(_Fields):
    """What a learner carries from step to step: the model's states and the traces.

    States of your own, `Carry(states, traces)` or `carry._replace(states=...)`, may not be differentiated: the call
    that is given them raises EtirError then.
    """

    __slots__ = ()

    def __new__(cls, states: Any, traces: Any, cut: Any = None) -> Self:
        """Hold these; where `cut` is not given, it is the states as they are."""
        return super().__new__(cls, states, traces, _again(states) if cut is None else cut)

    def _replace(self, **changes: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self)(**_changed(self, changes))

    __replace__ = _replace

    def __repr__(self) -> str:
        return carry_summary(self)


class InitialCarry(_InitialFields):
    """What a learner of initial states carries from step to step."""

    __slots__ = ()

    def __new__(cls, states: Any, traces: Any, initial: Any, begun: Any, cut: Any = None) -> Self:
        """Hold these; where `cut` is not given, it is the states as they are."""
        return super().__new__(cls, states, traces, initial, begun, _again(states) if cut is None else cut)

    def _replace(self, **changes: Any) -> Self:  # pyright: ignore[reportIncompatibleMethodOverride]
        return type(self)(**_changed(self, changes))

    __replace__ = _replace

    def __repr__(self) -> str:
        return carry_summary(self)


def _changed(carry: Any, changes: dict[str, Any]) -> dict[str, Any]:
    """The fields of a carry after changes; new states come with their own `cut`."""
    return carry._asdict() | ({"cut": None} if "states" in changes else {}) | changes


def _again(states: Any) -> Any:
    """The states in arrays of their own, so that both may be donated."""
    return jax.tree.map(lambda x: jnp.copy(x) if isinstance(x, jax.Array) else x, states)
