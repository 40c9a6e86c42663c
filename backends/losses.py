"""A user's loss as the drivers call it, and functions as keys of what was compiled for them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import EtirError, error
from ..ir.loc import definition
from ..ir.types import TensorType
from .calls import Arrays


@dataclass(frozen=True, slots=True)
class StepLoss:
    """The loss of one step: `(flat outputs, targets) -> (scalar, auxiliary results)`."""

    function: Any
    """What the user gave: `loss(outputs, *target)`, a scalar or a pair of a scalar and anything else."""
    outputs: Any
    """The structure of the outputs."""
    masked: bool = False
    """Whether the first target says if the step counts; the loss of one that does not is zero."""

    def __call__(self, outputs: Arrays, target: Any) -> tuple[jax.Array, Any]:
        """The loss and the auxiliary results, None for none. Raises EtirError for a loss that is no real scalar."""
        if not self.masked:
            return self._of_step(outputs, target)
        counts, *given = target
        value, aux = self._of_step(outputs, given)
        return jnp.where(counts, value, jnp.zeros_like(value)), aux

    def of(self, gradient: Callable[..., Any], reduction: str) -> Callable[..., Any]:
        """An engine's `gradient` of this loss, the sum over steps, as `reduction` wants it.

        A mean is over the steps that count, of which there may be none.
        """
        if reduction == "sum":
            return gradient

        def mean(*given: Any) -> Any:
            grads, losses, *rest = gradient(*given)
            steps = jnp.maximum(jnp.sum(given[-1][0]), 1) if self.masked else losses.shape[0]
            return [None if g is None else divided(g, steps) for g in grads], losses, *rest

        return mean

    def _of_step(self, outputs: Arrays, target: Any) -> tuple[jax.Array, Any]:
        value = self._called(jax.tree.unflatten(self.outputs, outputs), target)
        value, aux = self._pair(value) if isinstance(value, tuple) else (value, None)
        value = _array(value, "is")
        for x in jax.tree.leaves(aux):
            _array(x, "has beside it")
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise error(
                "loss-type",
                f"the loss of a step is {TensorType.of(value)}; wanted a floating-point scalar",
                help="sum or average over everything but time, which reduction= is for",
            )
        return value, aux

    def _called(self, outputs: Any, target: Any) -> Any:
        """What the user's function returns; what it raises says of which arrays."""
        try:
            return self.function(outputs, *target)
        except Exception as wrong:
            if not isinstance(wrong, EtirError):
                found = ", ".join(f"target {k} {_types(t)}" for k, t in enumerate(target)) or "no target"
                wrong.add_note(f"the loss of one step was called with outputs {_types(outputs)}; {found}")
            raise

    def _pair(self, value: Any) -> tuple[Any, Any]:
        if len(value) != 2:
            raise error(
                "loss-type",
                f"the loss of a step returned {len(value)} values; wanted a scalar, or a pair of it and the rest",
                help="put everything but the scalar into one tuple or dictionary",
            )
        return value


def divided(grad: jax.Array, steps: Any) -> jax.Array:
    """A sum over steps as a mean; the zeros of integer parameters stay as they are."""
    return (grad / steps).astype(grad.dtype) if jnp.issubdtype(grad.dtype, jnp.inexact) else grad


def check_loss(function: Any) -> None:
    """Raise EtirError for a loss that is no function."""
    if not callable(function):
        raise error(
            "loss-type",
            f"the loss is of type {type(function).__name__}; wanted a function (outputs, *target)",
            help="the gradient is taken in two calls: learner.grad(loss)(params, carry, xs, *targets)",
        )


def check_reduction(reduction: str) -> None:
    """Raise EtirError for what is no reduction over steps."""
    if reduction not in ("sum", "mean"):
        raise error("unknown-reduction", f"reduction={reduction!r}; wanted 'sum' or 'mean'")


def check_targets(function: Any, targets: tuple[Any, ...], call: str) -> None:
    """Raise EtirError where a loss cannot be called with the outputs and these targets; `call` says how they came."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, *targets)
    except TypeError as mismatch:
        count = f"{len(targets)} target{'' if len(targets) == 1 else 's'}"
        raise error(
            "loss-arguments",
            f"the loss takes {signature}, which does not fit the outputs and {count}",
            loc=definition(function),
            notes=[str(mismatch)],
            help=f"call it with {call}: a target for each argument of the loss after the first",
        ) from None


def check_optimizer(optimizer: Any) -> None:
    """Raise EtirError for what is no optimiser."""
    if not callable(getattr(optimizer, "update", None)):
        raise error(
            "optimizer-type",
            f"the optimiser is of type {type(optimizer).__name__}; wanted an object with optax's update()",
            help="for example learner.train(loss, optax.adam(1e-3))",
        )


def check_order(opt_state: Any, carry: Any, kind: type) -> None:
    """Raise EtirError where a carry, which is of this kind, was given as the optimiser's state, and no carry as one."""
    if isinstance(opt_state, kind) and not isinstance(carry, kind):
        raise error(
            "argument-order",
            "the carry was given as the optimiser's state, and something else as the carry: they are swapped",
            help="train takes (params, opt_state, carry, xs, *targets)",
        )


def _types(tree: Any) -> str:
    """The types of a tree's arrays."""
    return ", ".join(str(TensorType.of(x)) for x in jax.tree.leaves(tree))


def _array(value: Any, place: str) -> jax.Array:
    """What the loss of a step is, or has beside it, as an array."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError):
        wanted = "a floating-point scalar" if place == "is" else "arrays and numbers"
        raise error("loss-type", f"the loss of a step {place} a {type(value).__name__}; wanted {wanted}") from None


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A function or an optimiser as a static argument: by its own equality where it is hashable, else by identity."""

    value: Any

    def __hash__(self) -> int:
        return hash(self.value) if _hashable(self.value) else id(self.value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Key):
            return NotImplemented
        return self.value is other.value or (_hashable(self.value) and bool(self.value == other.value))


def _hashable(value: Any) -> bool:
    try:
        hash(value)
    except (TypeError, ValueError):
        return False
    return True
