"""A model's run, watched: what is recorded of its states, outputs and spikes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.transition import Transition
from ..ir.types import TensorType
from .run import Arrays, Run, flat_step
from .surrogates import SurrogateHook


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is recorded of which model; hashed, for `jax.jit`."""

    transition: Transition
    states: tuple[int, ...]
    outputs: bool
    spikes: bool


def kinds(what: Watched, run: Run) -> Any:
    """What `watch` returns of a run at one time, as shapes: states, outputs, surrogate derivatives, spikes."""
    first = [jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in run.flat_inputs]
    return jax.jit(_recorded, static_argnums=(0, 1)).eval_shape(what, 1, run.flat_params, run.flat_states, first)[1]


def total_bytes(shapes: Any) -> int:
    """What arrays of these shapes hold."""
    return sum(TensorType(str(kind.dtype), tuple(kind.shape)).bytes for kind in jax.tree.leaves(shapes))


def watch(what: Watched, run: Run, every: int) -> tuple[Any, Arrays]:
    """What is recorded of every `every`-th step, arrays `[times, ...]`, and the states after the run."""
    return _watched(what, every, run.steps, run.flat_params, run.flat_states, run.flat_inputs)


def by_times(tree: Any, times: int, every: int) -> tuple[Any, Any]:
    """Arrays `[time, ...]` as `[times, every, ...]`, and the rest."""
    whole = jax.tree.map(lambda x: x[: times * every].reshape(times, every, *x.shape[1:]), tree)
    return whole, jax.tree.map(lambda x: x[times * every :], tree)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _watched(
    what: Watched, every: int, steps: int, params: Arrays, states: Arrays, inputs: Arrays
) -> tuple[Any, Arrays]:
    times = steps // every
    folded, rest = by_times(inputs, times, every)
    states, kept = jax.lax.scan(lambda s, xs: _recorded(what, every, params, s, xs), states, folded, length=times)
    if steps % every:
        step = flat_step(what.transition)
        states, _ = jax.lax.scan(lambda s, x: (step(params, s, x)[0], None), states, rest, length=steps % every)
    return kept, states


def _recorded(what: Watched, every: int, params: Arrays, states: Arrays, xs: Arrays) -> tuple[Arrays, Any]:
    """The states after `every` steps, and what is recorded of the last; spikes are the mean of all."""
    step = flat_step(what.transition)

    def observed(states: Arrays, xs: Arrays, *, last: bool) -> tuple[Arrays, Any, Any]:
        hook = SurrogateHook(derivatives=last) if what.spikes else None
        after, outputs = step(params, states, xs, hook)
        found = hook.found if hook else {}
        spikes = {name: value for name, (value, _) in found.items()}
        if not last:
            return after, spikes, None
        slopes = {name: slope for name, (_, slope) in found.items()}
        kept = [after[k] for k in what.states], outputs if what.outputs else []
        return after, spikes, (*jax.tree.map(numbers, kept), slopes)

    def between(now: tuple[Arrays, Any], xs: Arrays) -> tuple[tuple[Arrays, Any], None]:
        after, spikes, _ = observed(now[0], xs, last=False)
        return (after, jax.tree.map(jnp.add, now[1], spikes)), None

    if every == 1:
        after, spikes, kept = observed(states, [x[0] for x in xs], last=True)
        return after, (*kept, spikes)
    shapes = jax.eval_shape(lambda s, x: observed(s, x, last=False)[1], states, [x[0] for x in xs])
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    (states, total), _ = jax.lax.scan(between, (states, zeros), [x[:-1] for x in xs], length=every - 1)
    after, spikes, kept = observed(states, [x[-1] for x in xs], last=True)
    return after, (*kept, jax.tree.map(lambda a, b: (a + b) / every, total, spikes))


def numbers(x: jax.Array) -> jax.Array:
    """An array that numpy knows: of keys of random numbers their data."""
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
