"""record: a model run over a sequence, and what passed through its states and traces."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..backends import Carry, Learner
from ..ir.beginning import WithBegun
from ..ir.diagnostics import did_you_mean, error
from ..ir.plan.cost import human_bytes
from ..memory import budget
from .recording import Recording
from .run import AnyLearner, Run, apart, looked_at, prepared
from .watch import Watched, by_times, kinds, numbers, total_bytes, watch

_LOOKS = 50
"""How often a run's traces are looked at, where nobody says how often."""

Reduce = Callable[[jax.Array], jax.Array]


def record(
    learner: AnyLearner,
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
    own, params = looked_at(learner, params)
    marks, _ = apart(own, given)
    run = prepared(own, xs, params=params, states=begin, steps=steps, marks=marks)
    wanted = _places(run.state_paths, (keep,) if isinstance(keep, str) else tuple(keep))
    reduce = _root_mean_square if traces is True else traces or None
    entering = (run.learner.init(None, run.states, key=key) if carry is None else carry) if reduce else None
    what = Watched(transition=run.transition, states=wanted, outputs=outputs, spikes=spikes)
    looked = [jax.eval_shape(reduce, trace) for trace in run.learner.traces(entering)] if reduce and entering else []
    of_one = kinds(what, run)
    stride = _stride(run, max(1, total_bytes((of_one, looked))), every, memory, looks=reduce is not None)
    found, kept, after = None, (), None
    if reduce is not None:
        after, (of_carry, kept) = _of_traces(
            run.learner, wanted, reduce, stride, run.steps, run.params, entering, run.xs, given
        )
        found = of_carry, [], {}, {}
    if reduce is None or outputs or spikes:
        found, flat = watch(what, run, stride)
        after = after or jax.tree.unflatten(run.learner.signature.states, flat)
    return _recording(what, run, stride, jax.device_get((found, kept)), after)


def _root_mean_square(trace: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.abs(trace) ** 2))


def _places(paths: list[str], globs: tuple[str, ...]) -> tuple[int, ...]:
    """The places of the states that some glob matches."""
    for glob in globs:
        if not fnmatch.filter(paths, glob):
            raise error("recorded-name", f"keep='{glob}' matches no state", help=did_you_mean(glob, paths))
    return tuple(k for k, path in enumerate(paths) if any(fnmatch.fnmatchcase(path, glob) for glob in globs))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _of_traces(
    learner: Learner,
    states: tuple[int, ...],
    reduce: Reduce,
    every: int,
    steps: int,
    params: Any,
    carry: Any,
    xs: Any,
    given: Any,
) -> Any:
    """The carry after the run, and what is recorded of its states and of the traces."""
    times = steps // every
    whole, rest = by_times((xs, given), times, every)
    empty = not jax.tree.leaves(xs)

    def chunk(carry: Any, at: Any) -> tuple[Any, Any]:
        xs, given = at
        if empty:
            for k in range(every):
                carry, _ = learner.step(params, carry, **{name: x[k] for name, x in given.items()})
        else:
            carry, _ = learner.window(params, carry, xs, **given)
        leaves = jax.tree.leaves(carry.states)
        return carry, ([numbers(leaves[k]) for k in states], tuple(reduce(trace) for trace in learner.traces(carry)))

    carry, kept = jax.lax.scan(chunk, carry, whole, length=times)
    if steps % every and not empty:
        carry, _ = learner.window(params, carry, rest[0], **rest[1])
    return carry, kept


def _stride(run: Run, one: int, every: int | None, memory: int | float | str, *, looks: bool) -> int:
    """Every how many steps something is recorded, where one time holds `one` bytes; `looks` are those at traces."""
    if every is not None and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
        raise error("record-every", f"every={every!r}; wanted a positive number of steps, or None for what fits")
    if every is not None and every > run.steps:
        raise error("record-every", f"every={every}, and the sequence has {run.steps} steps: nothing would be recorded")
    within = budget(memory).bytes
    fits = max(1, -(-run.steps * one // int(within))) if within >= one else run.steps + 1
    if (every or run.steps) < fits:
        asked = f"every {every} of {run.steps} steps" if every else "a single time"
        size = human_bytes(one * (run.steps // every if every else 1))
        raise error(
            "record-memory",
            f"recording {asked} would hold {size}; the budget is {human_bytes(within)}",
            help=f"every={fits} fits, or record fewer states: keep=" if fits <= run.steps else "give more memory=",
        )
    return every or (_apart(fits, run) if looks else fits)


def _apart(fits: int, run: Run) -> int:
    """Every how many steps traces are looked at, a pass over them: at most `_LOOKS` times, at windows' ends."""
    stride, window = max(fits, -(-run.steps // _LOOKS)), run.learner.window_size
    return min(run.steps, -(-stride // window) * window) if stride > window else stride


def _recording(what: Watched, run: Run, every: int, found: Any, after: Any) -> Recording:
    """The recording of what was found; `after` is the carry, or the states alone where no traces were recorded."""
    (states, outputs, surrogates, spikes), traces = found
    paths, plan = run.state_paths, run.transition.plan
    carry = after if isinstance(after, Carry) else None
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
