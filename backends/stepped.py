"""What a learner does without a loss, as compiled functions of the user's own arguments."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp

from .beginning import begun_again
from .calls import Arrays
from .carry import Carry
from .checked import Checked
from .compiled import Compiled
from .drivers import counted, scan_windows
from .guards import refuse_by_carry, warn_of_input_credit
from .results import ALONE, PORTION_ALONE, SEQUENCE, STEP, like_step


class Stepped(Compiled):
    """The methods of one learner that take no loss."""

    @cached_property
    def reset(self) -> Checked:
        """`(carry, states) -> (Carry,)`: where another sequence begins."""

        def check(carry: Any, states: Arrays) -> tuple[Any, ...]:
            return self.arguments.carry(carry)[1], [jnp.copy(x) for x in states]

        def reset(traces: Any, states: Arrays) -> tuple[Carry]:
            return (Carry(jax.tree.unflatten(self.signature.states, states), begun_again(self.engine, traces)),)

        return self._checked(check, reset, roles=("carry", "states"), like=lambda before, _: (before,))

    @cached_property
    def step(self) -> Checked:
        """`(params, carry, inputs, signals) -> (Carry, outputs)`, differentiable."""
        of = self.arguments

        def check(params: Any, carry: Any, inputs: Any, signals: Any) -> tuple[Any, ...]:
            entering = refuse_by_carry(*of.carry(carry), "step", self.engine.bound)
            return of.params(params), entering, *of.step(inputs, signals)

        def step(params: Arrays, carry: Any, inputs: Arrays, signals: Arrays) -> tuple[Carry, Any]:
            (states, traces, seal), arrays = carry, self._warned_of(inputs)
            xs, given = [x[None] for x in arrays], [x[None] for x in signals]
            states, traces, outputs = self.engine.window(params, states, traces, xs, given, 1, seal)
            return self.carry(states, traces, seal), self._outputs([y[0] for y in outputs])

        return self._checked(check, step, roles=STEP, like=like_step)

    @cached_property
    def windows(self) -> Checked:
        """`(params, carry, xs, signals) -> (Carry, outputs)`, a window at a time, differentiable."""
        of, engine = self.arguments, self.engine

        def check(params: Any, carry: Any, xs: Any, signals: Any) -> tuple[Any, ...]:
            entering = refuse_by_carry(*of.carry(carry), "window", engine.bound)
            return of.params(params), entering, of.sequence(xs, (), signals)

        def window(params: Arrays, carry: Any, sequence: tuple[Arrays, Arrays, int]) -> tuple[Carry, Any]:
            def enter(now: Any, steps: int) -> Any:
                return now[0], engine.lag.ready(now[1], steps)

            def body(now: Any, at: Any, steps: int) -> tuple[Any, Arrays]:
                (before, held), (x, given) = now, at
                states, traces, outputs = engine.window(params, before, held, x, given, steps, seal)
                return (states, traces), outputs

            inputs, signals, length = sequence
            (before, held, seal), arrays = carry, (self._warned_of(inputs), signals)
            (states, traces), outputs = scan_windows(body, enter, (before, held), arrays, length, self.window)
            return self.carry(states, traces, seal), self._outputs(outputs)

        return self._checked(check, window, roles=SEQUENCE, like=like_step)

    @cached_property
    def predict(self) -> Checked:
        """`(steps, params, states, xs, marks) -> (states, outputs)`: the model alone."""
        model = self.engine.calls.model

        def predict(_: Any, params: Arrays, states: Arrays, given: tuple[Arrays, int]) -> tuple[Any, Any]:
            inputs, length = given
            states, outputs = jax.lax.scan(lambda now, x: model(params, now, x), states, inputs, length=length)
            return jax.tree.unflatten(self.signature.states, states), self._outputs(outputs)

        return self._checked(self._alone, predict, 1, roles=ALONE, like=like_step)

    @cached_property
    def portion_predict(self) -> Checked:
        """`(room, params, states, xs, marks, steps)`: the same of so many of the steps that there is room for.

        The states are overwritten.
        """
        model = self.engine.calls.model

        def check(room: int, *given: Any) -> tuple[Any, ...]:
            *arrays, steps = given
            return *self._alone(room, *arrays), steps

        def predict(
            room: int, params: Arrays, states: Arrays, given: tuple[Arrays, int], steps: Any
        ) -> tuple[Any, Any]:
            def one(states: Arrays, xt: Arrays) -> tuple[Arrays, Arrays]:
                states, outputs = model(params, states, [x[0] for x in xt])
                return states, [y[None] for y in outputs]

            states, outputs = counted(one, states, (given[0], 0, room), 1, steps)
            return jax.tree.unflatten(self.signature.states, states), self._outputs(outputs)

        return self._checked(check, predict, 1, roles=PORTION_ALONE, like=like_step, donated=(2,))

    def _alone(self, steps: int | None, params: Any, states: Any, xs: Any, marks: Any) -> tuple[Any, ...]:
        of = self.arguments
        return of.params(params), of.states(states), of.alone(xs, steps, marks)

    def _warned_of(self, inputs: Arrays) -> Arrays:
        """The inputs; a warning for each by which JAX differentiates, where credit would pass through states."""
        if not self.engine.transition.hidden:
            return inputs
        return [warn_of_input_credit(x, of.path) for x, of in zip(inputs, self.engine.transition.inputs, strict=True)]

    def _outputs(self, outputs: Arrays) -> Any:
        return jax.tree.unflatten(self.signature.outputs, outputs)
