"""A model with a sequence, and the programs that give its gradient: etir's, and those that anyone would write.

A step is written in plain JAX; etir finds its weights by `sites="auto"`, so every program runs the same lines.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

import etir

from .harness import Program

Array = jax.Array


def squared(y: Array, t: Array) -> Array:
    """The squared distance to a target, summed over the last axis, averaged over the batch."""
    return jnp.mean(jnp.sum((y - t) ** 2, -1))


class Problem(NamedTuple):
    """A step `(params, states, x) -> (states, y)`, values, and a sequence with a leading time axis."""

    step: Callable[..., Any]
    params: Any
    states: Any
    xs: Array
    ts: Array
    loss: Callable[..., Array] = squared

    @property
    def steps(self) -> int:
        """The length of the sequence."""
        return len(self.xs)

    @property
    def args(self) -> tuple[Any, ...]:
        """What the programs are called with."""
        return self.params, self.states, self.xs, self.ts


def _total(of: Problem, body_of: Callable[[Any], Any]) -> Callable[..., Array]:
    def total(params: Any, states: Any, xs: Array, ts: Array) -> Array:
        def body(states: Any, at: Any) -> tuple[Any, Array]:
            states, y = of.step(params, states, at[0])
            return states, of.loss(y, at[1])

        return body_of(body)(states, (xs, ts))

    return total


def forward(of: Problem) -> Program:
    """The losses alone."""
    run = _total(of, lambda body: lambda s, sequence: lax.scan(body, s, sequence)[1].sum())
    return Program(name="forward", run=run, args=of.args)


def bptt(of: Problem) -> Program:
    """`jax.grad` of a scan over the whole sequence."""
    run = _total(of, lambda body: lambda s, sequence: lax.scan(body, s, sequence)[1].sum())
    return Program(name="bptt", run=jax.grad(run), args=of.args)


def checkpointed(of: Problem, every: int) -> Program:
    """BPTT that keeps the states at every `every` steps, and computes what lies between again."""

    def body_of(body: Any) -> Any:
        @jax.checkpoint
        def stretch(states: Any, sequence: Any) -> tuple[Any, Array]:
            states, losses = lax.scan(body, states, sequence)
            return states, losses.sum()

        def run(states: Any, sequence: Any) -> Array:
            cut = jax.tree.map(lambda a: a.reshape(-1, every, *a.shape[1:]), sequence)
            return lax.scan(stretch, states, cut)[1].sum()

        return run

    name = f"bptt, checkpoint {every}"
    return Program(name=name, run=jax.grad(_total(of, body_of)), args=of.args, same_as="bptt")


def jacfwd_rtrl(of: Problem) -> Program:
    """RTRL by hand: the influence of every parameter on every state, by forward mode at every step."""

    def run(params: Any, states: Any, xs: Array, ts: Array) -> Any:
        (theta, as_params), (h, as_states) = ravel_pytree(params), ravel_pytree(states)

        def after(theta: Array, h: Array, x: Array) -> Array:
            return ravel_pytree(of.step(as_params(theta), as_states(h), x)[0])[0]

        def loss(theta: Array, h: Array, x: Array, t: Array) -> Array:
            return of.loss(of.step(as_params(theta), as_states(h), x)[1], t)

        def body(carry: Any, at: Any) -> tuple[Any, None]:
            h, influence, total = carry
            direct, credit = jax.grad(loss, (0, 1))(theta, h, *at)
            by_params, by_states = jax.jacfwd(after, (0, 1))(theta, h, at[0])
            influence, total = by_states @ influence + by_params, total + direct + credit @ influence
            return (after(theta, h, at[0]), influence, total), None

        start = h, jnp.zeros((h.size, theta.size), theta.dtype), jnp.zeros_like(theta)
        return as_params(lax.scan(body, start, (xs, ts))[0][2])

    return Program(name="jacfwd rtrl", run=run, args=of.args, same_as="bptt")


def online(of: Problem, rule: Any, window: int, *, same_as: str | None = "bptt", **options: Any) -> Program:
    """A compiled learner as it is used: the carry goes in donated and comes out with the gradient."""
    chosen = {"sites": "auto", "on_truncated": "ignore"} | options
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], rule=rule, window=window, **chosen)
    driver = learner.grad(of.loss)

    def run(params: Any, carry: Any, xs: Array, ts: Array) -> Any:
        result = driver(params, carry, xs, ts)
        return result.grads, result.carry

    name = f"etir {rule if isinstance(rule, str) else rule.name} window={window}"
    carry = learner.init(of.params, of.states)
    args = (of.params, carry, of.xs, of.ts)
    return Program(name=name, run=run, args=args, gradients=lambda r: r[0], donate=(1,), same_as=same_as)
