"""record: a model run over a sequence, and what passed through its states and traces."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..backends import Carry, Learner
from ..ir.beginning import WithBegun
from ..ir.diagnostics import did_you_mean, error
from ..ir.plan.cost import human_bytes
from ..ir.transition import Transition
from ..ir.types import TensorType
from ..memory import budget
from .recording import Recording
from .run import Arrays, Run, apart, checked_learner, flat_step, prepared
from .surrogates import SurrogateHook

_LOOKS = 50
"""How often a run's traces are looked at, where nobody says how often."""

Reduce = Callable[[jax.Array], jax.Array]


def record(
    learner: Learner,
    xs: Any = None,
    *,
    params: Any = None,
    states: Any = None,
    carry: Carry | None = None,
    keep: str | Sequence[str] = "*",
    outputs: bool = False,
    spikes: bool = False,
    traces: bool | Reduce = False,
    every: int | None = None,
    memory: int | float | str = "256MiB",
    steps: int | None = None,
    key: jax.Array | None = None,
    **given: Any,
) -> Recording:
    """Run a model over inputs with a leading time axis, its weights held, and record what passes through it.

    States that match a glob in `keep` are recorded; `outputs` too, where asked; with `spikes`, every spike function's
    spikes and surrogate derivatives. `traces` asks for the root mean square of each trace, or for what a function of
    one trace's array returns: `traces=lambda e: e` is the whole. The run begins with `carry`, else with `states`, else
    with the states given at compile. `given` are the marks of the steps, and signals of the learning rule.

    Every `every`-th step is recorded; by default as many as fit in `memory`, a number of bytes or a text, and with
    `traces` at most 50, since each is a pass over them. So memory is bounded however long the run is. Spikes are
    counted over all steps in between. Raises EtirError where `every` is given and what it asks for does not fit, for a
    glob that matches no state, and for arguments that `learner.predict` refuses.
    """
    begin = states if carry is None else carry.states
    marks, _ = apart(checked_learner(learner), given)
    run = prepared(learner, xs, params=params, states=begin, steps=steps, marks=marks)
    wanted = _places(run.state_paths, (keep,) if isinstance(keep, str) else tuple(keep))
    reduce = _root_mean_square if traces is True else traces or None
    entering = (run.learner.init(None, run.states, key=key) if carry is None else carry) if reduce else None
    what = _What(
        transition=run.transition, learner=run.learner, states=wanted, outputs=outputs, spikes=spikes, reduce=reduce
    )
    stride = _stride(what, run, entering, every, memory)
    own, kept, after = None, (), None
    if reduce is not None:
        after, (of_carry, kept) = _of_traces(what, stride, run.steps, run.params, entering, run.xs, given)
        own = of_carry, [], {}, {}
    if reduce is None or outputs or spikes:
        own, flat = _of_model(what, stride, run.steps, run.flat_params, run.flat_states, run.flat_inputs)
        after = after or jax.tree.unflatten(run.learner.signature.states, flat)
    return _recording(what, run, stride, jax.device_get((own, kept)), after)


def _root_mean_square(trace: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.abs(trace) ** 2))


def _places(paths: list[str], globs: tuple[str, ...]) -> tuple[int, ...]:
    """The places of the states that some glob matches."""
    for glob in globs:
        if not fnmatch.filter(paths, glob):
            raise error("recorded-name", f"keep='{glob}' matches no state", help=did_you_mean(glob, paths))
    return tuple(k for k, path in enumerate(paths) if any(fnmatch.fnmatchcase(path, glob) for glob in globs))


@dataclass(frozen=True, slots=True, kw_only=True)
class _What:
    """What is recorded of which model; hashed, for `jax.jit`."""

    transition: Transition
    learner: Learner
    states: tuple[int, ...]
    outputs: bool
    spikes: bool
    reduce: Reduce | None


@partial(jax.jit, static_argnums=(0, 1, 2))
def _of_model(what: _What, every: int, steps: int, params: Arrays, states: Arrays, inputs: Arrays) -> Any:
    """What is recorded of the model alone, and its states after the run."""
    step = flat_step(what.transition)

    def observed(states: Arrays, xs: Arrays, *, last: bool) -> tuple[Arrays, Any, Any]:
        hook = SurrogateHook(derivatives=last) if what.spikes else None
        after, outputs = step(params, states, xs, hook)
        found = hook.found if hook else {}
        spikes = {name: value for name, (value, _) in found.items()}
        if not last:
            return after, spikes, None
        slopes = {name: slope for name, (_, slope) in found.items()}
        return after, spikes, ([after[k] for k in what.states], outputs if what.outputs else [], slopes)

    def between(now: tuple[Arrays, Any], xs: Arrays) -> tuple[tuple[Arrays, Any], None]:
        after, spikes, _ = observed(now[0], xs, last=False)
        return (after, jax.tree.map(jnp.add, now[1], spikes)), None

    def chunk(states: Arrays, xs: Arrays) -> tuple[Arrays, Any]:
        if every == 1:
            after, spikes, kept = observed(states, [x[0] for x in xs], last=True)
            return after, (*kept, spikes)
        kinds = jax.eval_shape(lambda s, x: observed(s, x, last=False)[1], states, [x[0] for x in xs])
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), kinds)
        (states, total), _ = jax.lax.scan(between, (states, zeros), [x[:-1] for x in xs], length=every - 1)
        after, spikes, kept = observed(states, [x[-1] for x in xs], last=True)
        return after, (*kept, jax.tree.map(lambda a, b: (a + b) / every, total, spikes))

    times = steps // every
    folded = [x[: times * every].reshape(times, every, *x.shape[1:]) for x in inputs]
    states, kept = jax.lax.scan(chunk, states, folded, length=times)
    if steps % every:
        rest = [x[times * every :] for x in inputs]
        states, _ = jax.lax.scan(lambda s, x: (step(params, s, x)[0], None), states, rest, length=steps % every)
    return kept, states


@partial(jax.jit, static_argnums=(0, 1, 2))
def _of_traces(what: _What, every: int, steps: int, params: Any, carry: Any, xs: Any, given: Any) -> Any:
    """The carry after the run, and what is recorded of its states and of the traces."""
    learner, reduce = what.learner, what.reduce
    assert reduce is not None
    times = steps // every
    whole, rest = _split((xs, given), times, every)
    empty = not jax.tree.leaves(xs)

    def chunk(carry: Any, at: Any) -> tuple[Any, Any]:
        xs, given = at
        if empty:
            for k in range(every):
                carry, _ = learner.step(params, carry, **{name: x[k] for name, x in given.items()})
        else:
            carry, _ = learner.window(params, carry, xs, **given)
        states = jax.tree.leaves(carry.states)
        return carry, ([states[k] for k in what.states], tuple(reduce(trace) for trace in learner.traces(carry)))

    carry, kept = jax.lax.scan(chunk, carry, whole, length=times)
    if steps % every and not empty:
        carry, _ = learner.window(params, carry, rest[0], **rest[1])
    return carry, kept


def _split(tree: Any, times: int, every: int) -> tuple[Any, Any]:
    """Arrays `[time, ...]` as `[times, every, ...]`, and the rest."""
    whole = jax.tree.map(lambda x: x[: times * every].reshape(times, every, *x.shape[1:]), tree)
    return whole, jax.tree.map(lambda x: x[times * every :], tree)


def _stride(what: _What, run: Run, carry: Any, every: int | None, memory: int | float | str) -> int:
    """Every how many steps something is recorded."""
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise error("record-every", f"every={every!r}; wanted a positive number of steps, or None for what fits")
    if every is not None and every > run.steps:
        raise error("record-every", f"every={every}, and the sequence has {run.steps} steps: nothing would be recorded")
    within = budget(memory).bytes
    one = _bytes_each_time(what, run, carry)
    fits = max(1, -(-run.steps * one // int(within))) if within >= one else run.steps + 1
    if (every or run.steps) < fits:
        asked = f"every {every} of {run.steps} steps" if every else "a single time"
        size = human_bytes(one * (run.steps // every if every else 1))
        raise error(
            "record-memory",
            f"recording {asked} would hold {size}; the budget is {human_bytes(within)}",
            help=f"every={fits} fits, or record fewer states: keep=" if fits <= run.steps else "give more memory=",
        )
    return every or (fits if what.reduce is None else _apart(fits, run))


def _apart(fits: int, run: Run) -> int:
    """Every how many steps traces are looked at, a pass over them: at most `_LOOKS` times, at windows' ends."""
    stride, window = max(fits, -(-run.steps // _LOOKS)), run.learner.window_size
    return min(run.steps, -(-stride // window) * window) if stride > window else stride


def _bytes_each_time(what: _What, run: Run, carry: Any) -> int:
    """What one time holds in a recording."""
    transition = run.transition
    kinds: list[Any] = [transition.states[k].before.type for k in what.states]
    kinds += [output.value.type for output in transition.outputs] if what.outputs else []
    if what.spikes:
        first = [jax.ShapeDtypeStruct(x.shape[1:], x.dtype) for x in run.flat_inputs]
        kinds += jax.tree.leaves(jax.eval_shape(partial(_found, transition), run.flat_params, run.flat_states, first))
    if what.reduce is not None:
        reduce, learner = what.reduce, run.learner
        kinds += jax.eval_shape(lambda c: [reduce(trace) for trace in learner.traces(c)], carry)
    return max(1, sum(TensorType(str(kind.dtype), tuple(kind.shape)).bytes for kind in kinds))


def _found(transition: Transition, params: Arrays, states: Arrays, inputs: Arrays) -> Any:
    hook = SurrogateHook(derivatives=True)
    flat_step(transition)(params, states, inputs, hook)
    return hook.found


def _recording(what: _What, run: Run, every: int, found: Any, after: Any) -> Recording:
    """The recording of what was found; `after` is the carry, or the states alone where no traces were recorded."""
    (states, outputs, surrogates, spikes), traces = found
    paths, plan = run.state_paths, run.transition.plan
    carry = after if what.reduce is not None else None
    given = after if carry is None else carry.states
    return Recording(
        name=run.transition.name,
        length=run.steps,
        every=every,
        steps=np.arange(every, run.steps + 1, every),
        states={paths[k]: np.asarray(x) for k, x in zip(what.states, states, strict=True)},
        outputs={o.path: np.asarray(x) for o, x in zip(run.transition.outputs, outputs, strict=False)},
        spikes=spikes,
        surrogates=surrogates,
        traces={t.label: np.asarray(x) for t, x in zip(plan.traces if plan else (), traces, strict=False)},
        after=given.given if isinstance(given, WithBegun) else given,
        carry=carry,
    )
