"""What is said of derivatives that would be silently wrong, by identities that notice when they are differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ..ir.diagnostics import Diagnostic, EtirError, warn

T = TypeVar("T")


def refuse_through_driver(tree: T, method: str) -> T:
    """What `learner.grad` or `learner.train` is given, or returns: itself, refused a derivative."""
    return _refused(
        tree,
        code="driver-derivative",
        message=f"what learner.{method} returns is differentiated, and has no derivative",
        help="jax.lax.stop_gradient what it is given or closes over; learner.step and learner.window have derivatives",
    )


def refuse_by_initial_states(states: T) -> T:
    """The states that a sequence begins with: themselves, refused a derivative."""
    return _refused(
        states,
        code="initial-derivative",
        message="the states given to learner.init are differentiated, and no gradient by them is computed",
        help="compile with initial='*', which carries their influence; or give it jax.lax.stop_gradient(states)",
    )


def refuse_second_derivatives(tree: T) -> T:
    """What the reverse rule of an engine's window is given: itself, refused a derivative."""
    return _refused(
        tree,
        code="second-derivative",
        message="the gradient of a learner's step or window is differentiated, and traces hold first derivatives only",
        help="jax.lax.stop_gradient the parameters that the inner gradient is taken at, and what else enters its loss",
    )


def warn_of_input_credit(value: jax.Array, path: str) -> jax.Array:
    """An input over one window or more: itself; where JAX differentiates by it, the user is warned."""
    finding = Diagnostic(
        code="input-credit",
        message=f"the gradient by input '{path}' is that of each window alone; its part in later windows is left out",
        help="compute what should learn inside the step; jax.lax.stop_gradient the input if nothing before it should",
        severity="warning",
    )
    return _guarded(value, lambda: warn(finding))


def _refused(tree: T, code: str, message: str, help: str) -> T:
    finding = Diagnostic(code=code, message=message, help=help)

    def refuse() -> None:
        raise EtirError([finding])

    return _guarded(tree, refuse)


def _guarded(tree: T, found: Callable[[], None]) -> T:
    """`tree` itself, by an identity whose forward rule calls `found` where some leaf has a tangent.

    Leaves without derivatives stay outside, and so does what is no array of JAX's: nothing is differentiated by it.
    """
    leaves, structure = jax.tree.flatten(tree)
    places = [k for k, x in enumerate(leaves) if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.inexact)]
    if not places:
        return tree

    @jax.custom_vjp
    def identity(arrays: list[jax.Array]) -> list[jax.Array]:
        return arrays

    def forward(arrays: list[Any]) -> tuple[list[jax.Array], None]:
        if any(x.perturbed for x in arrays):
            found()
        return [x.value for x in arrays], None

    def reverse(_: None, cotangents: list[Any]) -> tuple[list[Any]]:
        return (cotangents,)

    identity.defvjp(forward, reverse, symbolic_zeros=True)
    for k, x in zip(places, identity([leaves[k] for k in places]), strict=True):
        leaves[k] = x
    return jax.tree.unflatten(structure, leaves)
