"""A learner's gradient beside that of the whole scan, for one loss of outputs alone."""

from typing import Any

import jax
import jax.numpy as jnp
from oracles import by_path, relative_error

import etir


def loss(y: jax.Array) -> jax.Array:
    """Of one step's outputs; no target, and no point at which it is flat."""
    return jnp.sum(jnp.sin(y))


def beside_bptt(step: Any, params: Any, states: Any, xs: Any, **options: Any) -> tuple[Any, dict[str, float]]:
    """The learner, and how far its gradient over `xs` is from that of `jax.grad` through the scan, relative.

    By path, of all parameters that are not frozen.
    """

    def total(params: Any) -> jax.Array:
        def body(states: Any, x: jax.Array) -> Any:
            states, y = step(params, states, x)
            return states, loss(y)

        return jax.lax.scan(body, states, xs)[1].sum()

    learner = etir.compile(step, params, states, xs[0], **({"sites": "auto"} | options))
    found, wanted = by_path(learner.grad(loss)(params, learner.init(), xs).grads), by_path(jax.grad(total)(params))
    learned = [entry.path for entry in learner.certificate if entry.label != "frozen"]
    assert {*learned} == {*found}
    return learner, {path: relative_error(found[path], wanted[path]) for path in learned}
