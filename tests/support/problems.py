"""A zoo case with inputs, targets and its BPTT gradients, built once a process."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from oracles import Gradients, Outcome, bptt, truncated_bptt

from etir.frontend import zoo

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

    @property
    def batched(self) -> Any:
        """The inputs as a learner takes them: a tuple only where there are several."""
        return self.xs if len(self.xs) > 1 else self.xs[0]

    def first(self, steps: int) -> "Problem":
        """The same problem, cut to its first steps."""
        xs, ts = jax.tree.map(lambda a: a[:steps], (self.xs, self.ts))
        return Problem(case=self.case, model=self.model, states=self.states, xs=xs, ts=ts)

    def bptt(self) -> Outcome:
        return bptt(self.model.step, self.model.params, self.states, self.xs, self.ts)

    def truncated(self, window: int) -> Outcome:
        return truncated_bptt(self.model.step, self.model.params, self.states, self.xs, self.ts, window)


@cache
def problem(name: str, *, batch: int | None = None, steps: int = STEPS, warm: bool = False) -> Problem:
    """The case of this name with float64 parameters and random inputs and targets."""
    case = zoo.case(name)
    model = case.build(jax.random.key(0), batch=batch, dtype=jnp.float64)
    xs, ts = model.make_inputs(jax.random.key(1), steps), model.make_targets(jax.random.key(2), steps)
    states = model.states
    if warm:
        before = model.make_inputs(jax.random.key(3), WARM_STEPS)
        states = jax.jit(lambda s: jax.lax.scan(lambda s, x: (model.step(model.params, s, *x)[0], None), s, before)[0])(
            states
        )
    return Problem(case=case, model=model, states=states, xs=xs, ts=ts)


@cache
def bptt_gradients(name: str) -> Gradients:
    """BPTT over the whole sequence, from rest."""
    return problem(name).bptt().grads


@cache
def truncated_gradients(name: str, window: int) -> Gradients:
    """The sum of the windows' own gradients, from rest."""
    return problem(name).truncated(window).grads
