"""What a certificate is checked against: gradients of a random loss by BPTT, as `jax.grad` of a scan."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import error
from .arrays import draw
from .target import Program


def projected_loss(y: Any, directions: Any) -> jax.Array:
    """The squared length of a step's outputs along one random direction: every output matters, none is special."""
    pairs = zip(jax.tree.leaves(y), jax.tree.leaves(directions), strict=True)
    along = [jnp.sum(leaf * direction) for leaf, direction in pairs if _counts(leaf)]
    return sum((jnp.abs(a) ** 2 for a in along), start=jnp.zeros(()))


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


def summed_gradient(program: Program, xs: tuple[Any, ...], directions: Any) -> Any:
    """The gradient of the summed losses of a sequence, by reverse mode through all of it."""

    def total(params: Any) -> jax.Array:
        def body(states: Any, at: Any) -> tuple[Any, jax.Array]:
            states, y = program.step(params, states, *at[0])
            return states, projected_loss(y, at[1])

        return jnp.sum(jax.lax.scan(body, program.states, (xs, directions))[1])

    return jax.jit(jax.grad(total, allow_int=True))(program.params)


def _counts(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
