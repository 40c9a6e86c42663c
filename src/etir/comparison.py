"""A learner's gradients beside those of BPTT: the numbers that labels are judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .arrays import draw, with_noise
from .backends.learner import Learner
from .bptt import back_propagation, projected_loss, random_directions
from .ir.diagnostics import error
from .ir.step import leaf_paths
from .program import Program

Gradients = Mapping[str, Any]
_ROUNDING = 1e-3
"""What rounding may leave of a gradient that is zero: this times the tolerance, of the norm of all gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Gradients by path: the learner's, and those that they are compared with."""

    found: Gradients
    wanted: Gradients
    tolerance: float

    def distance(self, path: str) -> float:
        """How far apart the two are, relative to the second, or to all weights' where the second is zero."""
        reference = self._scale if self.wants_zero(path) else _norm(self.wanted[path])
        return _norm(self.found[path] - self.wanted[path]) / (reference or 1.0)

    def equal(self, path: str) -> bool:
        """Whether the two are the same but for rounding."""
        return self.distance(path) <= self.tolerance

    def wants_zero(self, path: str) -> bool:
        """Whether the second is zero but for rounding."""
        return _norm(self.wanted[path]) <= _ROUNDING * self.tolerance * self._scale

    def is_zero(self, path: str) -> bool:
        """Whether the learner's is zero but for rounding."""
        return _norm(self.found[path]) <= _ROUNDING * self.tolerance * self._scale

    @property
    def _scale(self) -> float:
        return float(np.linalg.norm([_norm(gradient) for gradient in self.wanted.values()]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was computed. All of it is over random inputs and losses, with the same parameters."""

    whole: Pair
    """The learner over the whole sequence, and BPTT over the whole sequence."""
    windows: Pair
    """The learner over the whole sequence, and BPTT over each window alone, summed."""
    alone: Pair
    """One window from zero traces and states that are not at rest, and BPTT over it."""
    note: str
    """What was done to the parameters; empty where nothing was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A model with a random sequence and a random loss, and what BPTT says of them."""

    program: Program
    xs: tuple[Any, ...]
    directions: Any
    whole: Gradients
    windows: Gradients
    alone: Gradients
    after: Any
    """The states after the sequence, where the window alone begins."""

    def learnt(self, learner: Learner, states: Any, steps: int) -> Gradients:
        """The learner's gradient over the first steps, from these states and zero traces."""
        params, key = self.program.params, jax.random.key(0)
        carry = learner.init(params, states, key=key)
        xs, directions = _first(steps, self.xs), _first(steps, self.directions)
        plan = learner.transition.plan
        signals = {s.path: jax.random.normal(key, (steps, *s.value.type.shape)) for s in (plan.signals if plan else ())}
        result = learner.grad(projected_loss)(params, carry, xs[0] if len(xs) == 1 else xs, directions, **signals)
        frozen = {param.path for param in learner.transition.params if param.frozen}
        paths = [path for path, _ in leaf_paths(params, "param") if path not in frozen]
        return dict(zip(paths, jax.tree.leaves(result.grads), strict=True))

    @property
    def finite(self) -> bool:
        """Whether there is anything to compare with."""
        leaves = jax.tree.leaves((self.whole, self.windows, self.alone, self.after))
        return all(bool(jnp.isfinite(x).all()) for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact))


def compare(program: Program, learner: Learner, *, steps: int, seed: int, tolerance: float) -> Comparison:
    """The gradients of a learner and of BPTT for a random sequence. Constant parameters get noise, unless it does harm.

    Raises EtirError where BPTT itself is not finite.
    """
    of_sequence, of_noise = jax.random.split(jax.random.key(seed))
    window = learner.window_size
    params, noisy = with_noise(of_noise, program.params)
    note = f"noise was added to constant parameters: {', '.join(noisy)}" if noisy else ""
    trial = _tried(replace(program, params=params), of_sequence, steps, window)
    if noisy and not trial.finite:
        note = f"constant parameters keep their values, since with noise BPTT is not finite: {', '.join(noisy)}"
        trial = _tried(program, of_sequence, steps, window)
    if not trial.finite:
        raise error(
            "check-finite",
            f"BPTT of '{program.name}' over {steps} steps is not finite, so there is nothing to compare with",
            help="try another seed, or fewer steps",
        )
    whole, alone = trial.learnt(learner, program.states, steps), trial.learnt(learner, trial.after, window)
    return Comparison(
        whole=Pair(found=whole, wanted=trial.whole, tolerance=tolerance),
        windows=Pair(found=whole, wanted=trial.windows, tolerance=tolerance),
        alone=Pair(found=alone, wanted=trial.alone, tolerance=tolerance),
        note=note,
    )


def _tried(program: Program, key: jax.Array, steps: int, window: int) -> _Trial:
    of_inputs, of_loss = jax.random.split(key)
    xs = program.draw(of_inputs, steps) if program.draw else draw(of_inputs, steps, program.inputs)
    directions = random_directions(program, of_loss, steps)
    never, starts = jnp.zeros(steps, bool), jnp.arange(steps) % window == 0

    gradient_of = back_propagation(program.step)

    def bptt(states: Any, cuts: jax.Array, steps: int) -> tuple[Gradients, Any]:
        gradients, after = gradient_of(program.params, states, *_first(steps, (xs, directions, cuts)))
        return dict(leaf_paths(gradients, "param")), after

    whole, after = bptt(program.states, never, steps)
    windows, alone = bptt(program.states, starts, steps)[0], bptt(after, never, window)[0]
    return _Trial(program=program, xs=xs, directions=directions, whole=whole, windows=windows, alone=alone, after=after)


def _first(steps: int, tree: Any) -> Any:
    return jax.tree.map(lambda x: x[:steps], tree)


def _norm(array: Any) -> float:
    return float(np.linalg.norm(np.asarray(array).ravel())) if jnp.issubdtype(array.dtype, jnp.inexact) else 0.0
