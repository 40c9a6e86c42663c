"""One model's learners for batches of different sizes: each is compiled when such a batch is first met, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import EtirError
from ..ir.plan.axes import samples
from ..ir.step import Step
from ..ir.transition import Transition

if TYPE_CHECKING:
    from .learner import Learner


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sizes:
    """The learners that are made of one step, by the length of their batch."""

    step: Step
    place: int
    """Of a state whose first axis is the batch, among the leaves."""
    size: int
    """Of the batch that the step was lowered with."""
    make: Callable[[Step], Learner]
    made: dict[int, Learner | None] = field(default_factory=dict)

    def of(self, states: Any) -> Learner | None:
        """The learner for the batch that these states are; None for the one that was compiled first, or for no batch.

        States that differ otherwise are left to the checks of arguments.
        """
        leaves = jax.tree.leaves(states)
        shape = jnp.shape(leaves[self.place]) if len(leaves) > self.place else ()
        wanted = self.step.states[self.place].type.shape
        if shape == wanted or shape[1:] != wanted[1:] or len(shape) != len(wanted):
            return None
        size = next(iter(shape))
        if size not in self.made:
            step = self._resized(size) if size else None
            self.made[size] = None if step is None else self.make(step)
        return self.made[size]

    def beginning(self, states: Any, xs: Any) -> Any:
        """The states that the step was lowered with, repeated for as many samples as sequences `xs` have.

        As they are where `xs` do not say, or where they differ from sample to sample.
        """
        pairs = zip(jax.tree.leaves(xs), jax.tree.leaves(self.step.signature.example_inputs), strict=False)
        found = {jnp.shape(x)[1:2] for x, kind in pairs if kind.shape[:1] == (self.size,)}
        if len(found) != 1 or not (size := next(iter(found))):
            return states
        with jax.ensure_compile_time_eval():
            repeated = jax.tree.map(lambda x: self._repeated(x, *size), states)
        known = not any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(repeated))
        return repeated if known else states

    def _resized(self, size: int) -> Step | None:
        """The step for batches of another size.

        None where it begins with states that differ from sample to sample, or does not take inputs of that size.
        """
        signature = self.step.signature
        assert self.step.again is not None
        with jax.ensure_compile_time_eval():  # it may be asked for while JAX traces
            states = jax.tree.map(lambda x: self._repeated(x, size), signature.example_states)
            if "reset" in signature.marks and any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(states)):
                return None
            try:
                return self.step.again(states, jax.tree.map(lambda x: self._of(x, size), signature.example_inputs))
            except (EtirError, TypeError, ValueError):  # which axes are the batch was a guess
                return None

    def _of(self, x: Any, size: int) -> Any:
        """The type of an array with another batch, if it has a batch."""
        shape = (size, *x.shape[1:]) if x.shape[:1] == (self.size,) else x.shape
        return jax.ShapeDtypeStruct(shape, x.dtype)

    def _repeated(self, x: Any, size: int) -> Any:
        """A state for another batch: the same for every sample, where that was so; else its type alone."""
        kind = self._of(x, size)
        if isinstance(x, jax.ShapeDtypeStruct) or kind.shape == x.shape:
            return x
        return jnp.broadcast_to(x[:1], kind.shape) if (x == x[:1]).all() else kind


def sizes_of(step: Step, transition: Transition, make: Callable[[Step], Learner]) -> Sizes | None:
    """What compiles `step`, analysed as `transition`, for other batches; None where it has none, or cannot be lowered.

    Learned initial states are parameters of the batch's own size, so a learner that has them is for that size alone.
    """
    size = samples(transition)
    if size is None or step.again is None or step.signature.initial:
        return None
    place = next(k for k, s in enumerate(step.states) if s.type.carries_credit and s.type.shape[:1] == (size,))
    return Sizes(step=step, place=place, size=size, make=make)
