"""What is said of derivatives that would be silently wrong, by identities that notice when they are differentiated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from ..ir.diagnostics import Diagnostic, EtirError, warn
from .calls import Arrays

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
        message="the states that a sequence begins with are differentiated, and no gradient by them is computed",
        help="compile with initial='*', which carries their influence; or give it jax.lax.stop_gradient(states)",
    )


def refuse_by_carry(states: Arrays, traces: Any, cut: Arrays, method: str, bound: bool) -> tuple[Arrays, Any, Any]:
    """The states and traces of a carry that enters a call, and its seal: that its states are those that a call left.

    These have a derivative, for losses of states, and no call takes it: its traces send their credit on. What tells
    that a state is another, and has a derivative of another's, is that `cut` has one too, which is refused; or, where
    `cut` does not know of it, its number. A gradient by the latter is NaN.
    """
    traces, cut = _refused(
        (traces, cut),
        code="carry-derivative",
        message=f"the carry given to learner.{method} is differentiated, and no gradient by it is computed",
        help="compile with initial='*' and put the states into learner.init, which carries their influence; or put "
        "jax.lax.stop_gradient(states) into the carry",
    )
    return states, traces, _with_cotangent(seal_of(states, cut, bound), states, cut)


def seal_of(states: Arrays, cut: Arrays, bound: bool) -> jax.Array:
    """Zero where a carry's states are those that a call left, which `cut` has again; else NaN, if traces are `bound`.

    Traces of other states give a finite and wrong gradient, so a gradient has this added to it, and so has the `cut`
    that goes on: what is wrong once stays so.
    """
    same = [jnp.array_equal(x, y, equal_nan=True) for x, y in jax.lax.stop_gradient(_pairs(states, cut))]
    return jnp.where(jnp.stack(same).all(), 0.0, jnp.nan) if bound and same else jnp.zeros(())


def again(states: Arrays, seal: jax.Array) -> Arrays:
    """New states once more, for `cut`: bit for bit those that go on.

    XLA may compute a sum a second time, among other operations, and round otherwise. On a CPU it looks through a
    barrier, and not into a loop of which it cannot know that there are no turns where the seal is zero.
    """
    turns = jnp.where(seal == 0, 0, 1)
    return jax.lax.platform_dependent(turns, states, cpu=_through_a_loop, default=_behind_a_barrier)


def _behind_a_barrier(_: jax.Array, states: Arrays) -> Arrays:
    return jax.lax.optimization_barrier(states)


def _through_a_loop(turns: jax.Array, states: Arrays) -> Arrays:
    def turn(now: tuple[jax.Array, Arrays]) -> tuple[jax.Array, Arrays]:
        return now[0] + 1, [-x if jnp.issubdtype(x.dtype, jnp.inexact) else x for x in now[1]]

    return jax.lax.while_loop(lambda now: now[0] < turns, turn, (jnp.zeros_like(turns), states))[1]


def sealed(arrays: T, seal: Any) -> T:
    """A gradient, or a `cut`, NaN where its seal is."""

    def with_seal(x: Any) -> Any:
        return x + seal.astype(x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else x

    return jax.tree.map(with_seal, arrays)


def _pairs(states: Arrays, cut: Arrays) -> list[tuple[Any, Any]]:
    return [(x, y) for x, y in zip(states, cut, strict=True) if jnp.issubdtype(x.dtype, jnp.inexact)]


def _with_cotangent(value: jax.Array, states: Arrays, cut: Arrays) -> jax.Array:
    """A seal, whose cotangent reaches those of `states` that are not equal to what is in `cut`."""

    @jax.custom_vjp
    def identity(value: jax.Array, given: Any) -> jax.Array:
        del given
        return value

    def forward(value: jax.Array, given: Any) -> tuple[jax.Array, list[Any]]:
        same = [jnp.array_equal(x, y, equal_nan=True) for x, y in given]
        return value, [(ok, jnp.zeros_like(x)) for ok, (x, _) in zip(same, given, strict=True)]

    def reverse(kept: list[Any], bar: jax.Array) -> tuple[Any, list[Any]]:
        found = [(jnp.where(ok, zero, bar.astype(zero.dtype)), zero) for ok, zero in kept]
        return jnp.zeros_like(bar), found

    identity.defvjp(forward, reverse)
    return identity(value, [(x, jax.lax.stop_gradient(y)) for x, y in _pairs(states, cut)])


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
