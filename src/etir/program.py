"""A model with its example values: what is lowered, and what can be run beside a learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from .arrays import widened
from .frontend import Functional

Draw = Callable[[jax.Array, int], Any]
"""`(key, steps) -> inputs` with a leading time axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A model as a plain step with example values: everything that `etir.lower` takes."""

    name: str
    step: Callable[..., Any]
    params: Any
    states: Any
    inputs: tuple[Any, ...]
    buffers: Sequence[str] = ()
    """Globs of states that are declared not hidden."""
    module: Functional | None = None
    """The module that the step was made from: it knows what its states are."""
    draw: Draw | None = None
    """Inputs that drive the model well, with a leading time axis, from a key and a number of steps."""


def in_float64(program: Program) -> Program:
    """The model with its example values, and so its computation, in double precision, as far as its step lets it."""
    wide = replace(
        program,
        params=widened(program.params),
        states=widened(program.states),
        inputs=widened(program.inputs),
        draw=None if program.draw is None else _wide_draw(program.draw),
    )
    after = jax.eval_shape(wide.step, wide.params, wide.states, *wide.inputs)[0]
    keeps = jax.tree.map(lambda a, b: a.dtype == jnp.asarray(b).dtype, after, wide.states)
    return wide if all(jax.tree.leaves(keeps)) else program


def _wide_draw(function: Draw) -> Draw:
    return lambda key, steps: widened(function(key, steps))
