"""A zoo case with inputs, targets and its BPTT gradients, built once a process."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from oracles import Gradients, Outcome, bptt

from etir import zoo

STEPS = 11
"""No multiple of 2 or of 5: the last window is a shorter one."""

WARM_STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A model with a sequence to learn: started at rest, or warmed up."""

    case: zoo.ZooCase
    model: zoo.Model
    states: Any
    xs: tuple[Any, ...]
    ts: Any
    weights: Any
    """How much the loss of each step counts."""

    @property
    def arguments(self) -> tuple[Any, ...]:
        """Parameters, states, inputs, targets and weights: what a compiled driver runs on.

        The inputs are a tuple only where there are several, as a learner takes them.
        """
        xs = self.xs if len(self.xs) > 1 else self.xs[0]
        return self.model.params, self.states, xs, self.ts, self.weights

    def first(self, steps: int) -> "Problem":
        """The same problem where only the first steps count, so that compiled programs still fit it."""
        return replace(self, weights=1.0 * (np.arange(len(self.weights)) < steps))

    def bptt(self, window: int | None = None) -> Outcome:
        """BPTT, or with a window truncated BPTT."""
        return bptt(self.model.step, self.model.params, self.states, self.xs, self.ts, self.weights, window)


@cache
def problem(name: str, *, batch: int | None = None, warm: bool = False) -> Problem:
    """The case of this name with float64 parameters and random inputs and targets."""
    case = zoo.case(name)
    model = case.build(jax.random.key(0), batch=batch, dtype=jnp.float64)
    xs, ts = model.make_inputs(jax.random.key(1), STEPS), model.make_targets(jax.random.key(2), STEPS)
    states = model.states
    if warm:
        for t in range(WARM_STEPS):
            states, _ = model.step(model.params, states, *(x[t] for x in xs))
    return Problem(case=case, model=model, states=states, xs=xs, ts=ts, weights=np.ones(STEPS))


@cache
def bptt_gradients(name: str) -> Gradients:
    """BPTT over the whole sequence, from rest."""
    return problem(name).bptt().grads


@cache
def truncated_gradients(name: str, window: int) -> Gradients:
    """The sum of the windows' own gradients, from rest."""
    return problem(name).bptt(window).grads
