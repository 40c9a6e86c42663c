"""discover-states: which states carry credit through time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from ..ir.diagnostics import Diagnostic, EtirError
from ..ir.transition import State, StateKind, Transition
from .base import Pass


@dataclass(frozen=True)
class DiscoverStates(Pass):
    """Say of every state whether it is hidden, a floating-point buffer that was declared not hidden, or discrete.

    Before: `state %v -> %v1 : f32[8]  unknown`.  After: `state %v -> %v1 : f32[8]  hidden`.
    Refuses a step without a hidden state: there is nothing to learn online. And hidden states of eight bits or fewer.
    """

    name: ClassVar[str] = "discover-states"

    def run(self, transition: Transition) -> Transition:
        """The transition with the kind of every state."""
        if all(state.kind is not StateKind.UNKNOWN for state in transition.states) and transition.hidden:
            return transition
        states = tuple(_with_kind(state) for state in transition.states)
        if not any(state.kind is StateKind.HIDDEN for state in states):
            raise EtirError([_no_hidden_state(transition, states)])
        narrow = [s for s in states if s.kind is StateKind.HIDDEN and s.before.type.is_narrow]
        if narrow:
            raise EtirError([_narrow(transition, state) for state in narrow])
        return replace(transition, states=states)


def _with_kind(state: State) -> State:
    if state.kind is not StateKind.UNKNOWN:
        return state
    return replace(state, kind=StateKind.HIDDEN if state.before.type.carries_credit else StateKind.DISCRETE)


def _narrow(transition: Transition, state: State) -> Diagnostic:
    kind = state.before.type
    return Diagnostic(
        code="narrow-type",
        message=f"hidden state '{state.path}' is {kind}, and so would its derivatives be: JAX does not add these up",
        loc=state.loc or transition.loc,
        help=f"hold it in bfloat16 and round it in the step, h.astype({kind.dtype}).astype(bfloat16), "
        "or declare it not hidden",
    )


def _no_hidden_state(transition: Transition, states: tuple[State, ...]) -> Diagnostic:
    notes = tuple(
        f"state '{state.path}' is {state.before.type}"
        + (
            ", declared not hidden"
            if state.kind is StateKind.BUFFER
            else ": only floating and complex states carry credit"
        )
        for state in states
    )
    return Diagnostic(
        code="no-hidden-state",
        message=f"step '{transition.name}' has no hidden state, so there is nothing to learn online",
        loc=transition.loc,
        notes=notes or ("it has no state at all",),
        help="give the step a state of floating or complex type that it reads and returns",
    )
