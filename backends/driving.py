"""How the drivers of a learner go through a sequence, as their options say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from .driven import Driven
from .losses import Key, check_reduction
from .nonfinite import Call, check_choice, trained_while_finite
from .piecewise import check_piece, gradient_by_pieces, train_by_pieces
from .results import Result, Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Driving:
    """The options that `learner.grad` and `learner.train` share. Raises EtirError for those that do not fit."""

    window: int
    reduction: str
    resumable: bool
    piece: int | None
    on_nonfinite: str = "ignore"

    def __post_init__(self) -> None:
        """Check each option, and which go together."""
        check_choice(self.on_nonfinite, self.resumable)
        check_reduction(self.reduction)
        check_piece(self.piece, self.window, resumable=self.resumable, on_nonfinite=self.on_nonfinite)

    def gradient(self, driven: Driven, loss: Key, given: tuple[Any, ...], signals: dict[str, Any]) -> Result:
        """The gradient; `given` are parameters, carry, inputs and targets."""
        if self.piece is not None:
            return gradient_by_pieces(driven, loss, self.reduction, self.piece, (*given, signals))
        if not self.resumable:
            unread = jx.current_trace() != jx.eager_trace()  # a program of the caller's may leave the carry
            return driven.gradient(loss, self.reduction, unread, *given, signals)
        onto, ends = signals.pop("onto", None), bool(signals.pop("ends", False))
        return driven.resumed_gradient(loss, ends, *given, signals, _once(), onto)

    def train(
        self, driven: Driven, loss: Key, optimizer: Key, given: tuple[Any, Any, Any, Any, Any], signals: dict[str, Any]
    ) -> Trained:
        """Training; `given` are parameters, the optimiser's state, carry, inputs and targets."""
        options = loss, optimizer, self.reduction
        if self.on_nonfinite != "ignore":
            return trained_while_finite(driven, options, Call(*given, signals), self.on_nonfinite)
        if self.piece is not None:
            return train_by_pieces(driven, options, self.piece, (*given, signals))
        if not self.resumable:
            return driven.train(*options, *given, signals)
        ends = bool(signals.pop("ends", False))
        return driven.resumed_train(*options, ends, *given, signals, _once())


def check_sums(driving: Driving) -> None:
    """Raise EtirError for a mean over the steps of calls that share a gradient."""
    if driving.resumable and driving.reduction != "sum":
        raise error(
            "option-pair",
            "reduction='mean' is over the steps of a call, resumable=True is for gradients that calls share",
            help="leave reduction= out, and divide the sum by the number of steps",
        )


def _once() -> jax.Array:
    """One, given to a compiled program as an argument."""
    return jnp.ones((), jnp.int32)
