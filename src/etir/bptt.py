"""What a certificate is checked against: gradients of a random loss by BPTT, as `jax.grad` of a scan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .arrays import draw
from .ir.diagnostics import error
from .program import Program


def projected_loss(y: Any, directions: Any) -> jax.Array:
    """The squared distance from one of a step's outputs along one random direction.

    Every output matters and none is special, nor are outputs of zero, as those of a silent spiking network.
    """
    pairs = zip(jax.tree.leaves(y), jax.tree.leaves(directions), strict=True)
    along = [jnp.sum(leaf * direction) for leaf, direction in pairs if _counts(leaf)]
    return sum((jnp.abs(a - 1) ** 2 for a in along), start=jnp.zeros(()))


def random_directions(program: Program, key: jax.Array, steps: int) -> Any:
    """A direction for each step, of the outputs' shapes; EtirError where no output can be differentiated."""
    outputs = jax.eval_shape(program.step, program.params, program.states, *program.inputs)[1]
    if not any(map(_counts, jax.tree.leaves(outputs))):
        raise error(
            "check-outputs",
            f"no output of '{program.name}' is of floating or complex type, so there is no gradient to check",
            help="return from the step what a loss would read",
        )
    return draw(key, steps, outputs)


def back_propagation(step: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """A function `(params, states, xs, directions, cuts)`: the gradient of the summed losses, and the last states.

    It is reverse mode through the whole sequence. Credit ends at every step whose entry in `cuts` is true: it takes
    the states that it enters with for constants.
    """

    @jax.jit
    def gradient(params: Any, states: Any, xs: tuple[Any, ...], directions: Any, cuts: jax.Array) -> tuple[Any, Any]:
        def total(params: Any) -> tuple[jax.Array, Any]:
            def body(states: Any, at: Any) -> tuple[Any, jax.Array]:
                x, direction, cut = at
                states, y = step(params, jax.tree.map(lambda state: _without_credit(state, cut), states), *x)
                return states, projected_loss(y, direction)

            after, losses = jax.lax.scan(body, states, (xs, directions, cuts))
            return jnp.sum(losses), after

        return jax.grad(total, has_aux=True, allow_int=True)(params)

    return gradient


def _without_credit(state: Any, cut: jax.Array) -> Any:
    return jnp.where(cut, jax.lax.stop_gradient(state), state) if _counts(state) else state


def _counts(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
