"""What a learner's methods return, and which of their arguments each part is like: by structure, and where it lies."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from .carry import Carry
from .layout import Roles


class Result(NamedTuple):
    """What `learner.grad` returns."""

    grads: Any
    """The gradient, in the structure of the parameters."""
    losses: jax.Array
    """The loss of each step, `[time]`."""
    carry: Carry
    """States and traces after the last step."""
    aux: Any
    """What else the loss function returned, each with a leading time axis; None if nothing."""


class Trained(NamedTuple):
    """What `learner.train` returns."""

    params: Any
    opt_state: Any
    carry: Carry
    losses: jax.Array
    """The loss of each step, `[time]`."""
    aux: Any
    """What else the loss function returned, each with a leading time axis; None if nothing."""


STEP: Roles = ("params", "carry", "now", "now")
SEQUENCE: Roles = ("params", "carry", "time", "time", "time")
ALONE: Roles = ("params", "states", "time", "time")
PORTION_ALONE: Roles = (*ALONE, "now")
RESUMED: Roles = (*SEQUENCE, "now", "params")
TRAINING: Roles = ("params", "optimizer", *SEQUENCE[1:])
RESUMED_TRAINING: Roles = (*TRAINING, "now")


def like_step(_: Any, before: Any, *__: Any) -> tuple[Any, ...]:
    """Carry or states, and outputs."""
    return before, None


def like_gradient(params: Any, carry: Any, *_: Any) -> tuple[Any, ...]:
    """`Result`'s."""
    return params, None, _between_windows(carry), None


def like_training(params: Any, opt_state: Any, carry: Any, *_: Any) -> tuple[Any, ...]:
    """`Trained`'s."""
    return params, opt_state, _between_windows(carry), None, None


def _between_windows(carry: Any) -> Any:
    """A carry without the steps of a window that it stands inside of: those of another one follow."""
    return Carry(carry.states, carry.traces, carry.cut) if isinstance(carry, Carry) else carry
