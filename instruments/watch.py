"""A model's run, watched: what is recorded of its states, outputs and spikes, computed in pieces and kept in numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.transition import Transition
from ..ir.types import TensorType
from .run import Arrays, Run, flat_step
from .surrogates import SurrogateHook

_PIECE = 2**20
"""How many bytes one piece holds, so that it is still in a cache when it is copied."""


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


def watch(what: Watched, run: Run, every: int, of_one: Any) -> tuple[Any, Arrays]:
    """What is recorded of every `every`-th step, arrays `[times, ...]` of numpy, and the states after the run.

    `of_one` are `kinds`. New memory is handed out by the system when it is first written to, in small pages where
    nobody asks for large ones, and that takes longer than many a step. So programs write pieces, into the memory of the
    piece before last, and each is copied, while the next is computed, to an array of numpy, which asks.
    """
    times, states = run.steps // every, run.flat_states
    into = jax.tree.map(lambda kind: np.empty((times, *kind.shape), kind.dtype), of_one)
    most = min(times, max(1, _PIECE // max(1, total_bytes(of_one))))
    now, before = (jax.tree.map(lambda kind: jnp.zeros((most, *kind.shape), kind.dtype), of_one) for _ in range(2))
    for begin in range(0, times, most):
        count = min(most, times - begin)
        states, now = _piece(what, every, run.flat_params, states, run.flat_inputs, begin, count, now)
        _copy(into, begin - most, before)
        now, before = before, now
    _copy(into, times - 1 - (times - 1) % most, before)
    if run.steps % every:
        rest = [x[times * every :] for x in run.flat_inputs]
        states = _unwatched(what, run.steps % every, run.flat_params, states, rest)
    return into, states


def _copy(into: Any, begin: int, piece: Any) -> None:
    """Copy a piece to where it begins, as far as there are places for it."""
    for whole, part in zip(jax.tree.leaves(into), jax.tree.leaves(piece), strict=True):
        places = whole[max(begin, 0) : max(begin + len(part), 0)]
        places[:] = np.asarray(part)[: len(places)]


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=7)
def _piece(
    what: Watched, every: int, params: Arrays, states: Arrays, inputs: Arrays, begin: int, count: int, piece: Any
) -> tuple[Arrays, Any]:
    """The states after `count` times, and what is recorded of them in the place of what `piece` holds."""

    def one(k: Any, now: tuple[Arrays, Any]) -> tuple[Arrays, Any]:
        xs = [jax.lax.dynamic_slice_in_dim(x, (begin + k) * every, every) for x in inputs]
        states, found = _recorded(what, every, params, now[0], xs)
        return states, jax.tree.map(lambda xs, x: jax.lax.dynamic_update_index_in_dim(xs, x, k, 0), now[1], found)

    return jax.lax.fori_loop(0, count, one, (states, piece))


@partial(jax.jit, static_argnums=(0, 1))
def _unwatched(what: Watched, steps: int, params: Arrays, states: Arrays, inputs: Arrays) -> Arrays:
    """The states after steps of which nothing is recorded."""
    step = flat_step(what.transition)
    return jax.lax.scan(lambda s, x: (step(params, s, x)[0], None), states, inputs, length=steps)[0]


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
