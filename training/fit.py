"""Training without a loop of one's own: epochs and batches around `learner.train`."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..backends import Carry, Learner
from ..ir.diagnostics import did_you_mean, error
from ..ir.step import leaf_paths
from .batches import Batch, Batches, batches_of
from .callback import Callback, callbacks_of
from .checkpoints import Checkpoints, Saved, checkpoints_of
from .counts import check_count
from .history import History
from .run import Run

SEQUENCES = ("batch", "epoch", "run")


class Fitted(NamedTuple):
    """What `etir.fit` returns."""

    params: Any
    opt_state: Any
    carry: Carry
    """States and traces after the last batch that was learnt from in this call."""
    history: History
    """A row an epoch, printed as a table."""
    stopped: str
    """Why it ended before its time; empty where it did not."""


def fit(
    learner: Learner,
    loss: Callable[..., Any],
    optimizer: Any,
    batches: Batches,
    *,
    epochs: int = 1,
    callbacks: Sequence[Callback | Callable[[Run], object]] = (),
    checkpoints: Checkpoints | str | Path | None = None,
    sequence: str = "batch",
    params: Any = None,
    opt_state: Any = None,
    carry: Carry | None = None,
    key: jax.Array | None = None,
    **options: Any,
) -> Fitted:
    """Train for so many epochs: `learner.train` on one batch after the other, callbacks in between, and a history.

    Args:
        learner: what `etir.compile` returned.
        loss: of one step, as in `learner.train`.
        optimizer: optax's. Its updates, which schedules count, come at the end of each window.
        batches: those of an epoch, a list say, or a function of the epoch, counted from zero. Each is `(xs, *targets)`,
            time first, or a `Batch`, which names masks and signals.
        epochs: how many in all, those before a checkpoint included.
        callbacks: see `etir.training`; a plain function is called with the run after each epoch.
        checkpoints: a directory in which the training is kept. Where one is there already, it goes on from it, and ends
            with the very same numbers as if it had never been interrupted.
        sequence: how long a sequence is: "batch", each begins anew; "epoch", states and traces go on from batch to
            batch; "run", from epoch to epoch too, as in a stream.
        params: to begin with, by default those given at compile.
        opt_state: the optimiser's, by default its first.
        carry: to begin with, by default `learner.init()`; for sequences longer than a batch.
        key: a PRNG key, for rules that draw random numbers.
        options: those of `learner.train`, `reduction=` say.

    Raises:
        EtirError: for options, batches, callbacks and checkpoints that do not fit, and what `learner.train` refuses.
    """
    _check(learner, epochs, sequence, carry, options)
    train = learner.train(loss, optimizer, **options)
    params = learner.params if params is None else params
    run = Run(
        learner=learner,
        params=params,
        opt_state=optimizer.init(learner.trainable(params)) if opt_state is None else opt_state,
        carry=learner.init(params, key=key) if carry is None else carry,
        epochs=epochs,
        sequence=sequence,
        options=options,
        expected=_expected(batches, epochs),
    )
    hung, kept = callbacks_of(callbacks), checkpoints_of(checkpoints)
    if kept is not None and options.get("resumable"):
        raise error(
            "fit-option",
            "resumable=True may leave a window open at a batch's end, which checkpoints do not keep",
            help="leave one out; batches of a multiple of the window need no resumable=True",
        )
    with ExitStack() as ended:
        for callback in hung:
            callback.begin(run)
            ended.callback(callback.end, run)
        saved = kept.opened(run, hung) if kept is not None else None
        if saved is not None:
            ended.callback(saved.close)
            saved.restore()
        while run.epoch < epochs and not run.stopped:
            _epoch(run, train, batches, key, hung, saved)
    return Fitted(run.params, run.opt_state, run.carry, run.history, run.stopped)


def _epoch(
    run: Run,
    train: Callable[..., Any],
    batches: Batches,
    key: jax.Array | None,
    callbacks: Sequence[Callback],
    saved: Saved | None,
) -> None:
    """What is left of an epoch, and its end."""
    started = time.perf_counter()
    for batch in batches_of(batches, run.epoch, run.batch):
        _learn(run, train, batch, key)
        for callback in callbacks:
            callback.after_batch(run)
        if run.stopped:
            break
        if saved is not None:
            saved.after_batch()
    _close(run, time.perf_counter() - started)
    for callback in callbacks:
        callback.after_epoch(run)
    if saved is not None:
        saved.save()


def _learn(run: Run, train: Callable[..., Any], batch: Batch, key: jax.Array | None) -> None:
    """One batch, from a new beginning where a sequence begins with it."""
    first_of_epoch = run.batch == 0 and run.epoch > 0
    if run.sequence == "batch" or (run.sequence == "epoch" and first_of_epoch):
        own = key if key is None else jax.random.fold_in(key, run.updates)
        run.carry = run.learner.init(run.params, run.learner.beginning(batch.xs), key=own)
    done = train(run.params, run.opt_state, run.carry, batch.xs, *batch.targets, **batch.signals)
    total = float(done.losses.sum())
    if not math.isfinite(total):
        raise _diverged(run, done.losses)
    run.params, run.opt_state, run.carry = done.params, done.opt_state, done.carry
    counted, steps = batch.signals.get("mask"), len(done.losses)
    run.total += total
    run.steps += steps if counted is None or np.ndim(counted) != 1 else int(np.sum(counted[:steps]))
    if run.options.get("on_nonfinite") == "stop" and steps < len(jax.tree.leaves(batch.xs)[0]):
        run.stop(f"a number was not finite in batch {run.batch + 1} of epoch {run.epoch + 1}")
    run.batch, run.updates = run.batch + 1, run.updates + 1


def _diverged(run: Run, losses: jax.Array) -> Exception:
    """The error for losses that are not all finite, or too large to be added up."""
    wrong = np.flatnonzero(~np.isfinite(np.asarray(losses)))
    where = f"step {wrong[0]} of batch {run.batch + 1} of epoch {run.epoch + 1}" if len(wrong) else "a batch, added up"
    value = losses[wrong[0]] if len(wrong) else "infinite"
    return error(
        "fit-diverged",
        f"the loss of {where} is {value}: training has diverged, or its data are not finite",
        help="on_nonfinite='raise' says where it began; a lower learning rate, or optax.clip_by_global_norm, may help",
    )


def _close(run: Run, seconds: float) -> None:
    """The row of an epoch that is over. Raises EtirError where it had no batch, or left parameters not finite."""
    if run.batch == 0:
        raise error(
            "fit-batches",
            f"epoch {run.epoch + 1} has no batch",
            help="a generator is spent after one epoch: give a list, or a function of the epoch that returns one",
        )
    spoilt = [path for path, leaf in leaf_paths(run.params, "param") if not _is_finite(leaf)]
    if spoilt:
        raise error(
            "fit-diverged",
            f"parameter '{spoilt[0]}' is not finite at the end of epoch {run.epoch + 1}, though the losses are",
            notes=[f"nor are {len(spoilt) - 1} more"] if spoilt[1:] else (),
            help="on_nonfinite='raise' says where it began: inputs that are not finite pass through spikes unseen",
        )
    run.rows.append({"epoch": run.epoch + 1, "loss": run.loss, "seconds": seconds})
    run.epoch, run.batch, run.total, run.steps = run.epoch + 1, 0, 0.0, 0


def _is_finite(leaf: jax.Array) -> bool:
    return not jnp.issubdtype(leaf.dtype, jnp.inexact) or bool(jnp.isfinite(leaf).all())


def _expected(batches: Any, epochs: int) -> int | None:
    """Batches of all epochs, where an epoch's have a length."""
    return epochs * len(batches) if isinstance(batches, Sized) else None


def _check(learner: Any, epochs: int, sequence: str, carry: Carry | None, options: Mapping[str, Any]) -> None:
    """Raise EtirError for what is no learner, and for options that are none, or exclude each other."""
    if not isinstance(learner, Learner):
        what = learner.__name__ if inspect.isfunction(learner) else f"of type {type(learner).__name__}"
        raise error(
            "fit-learner",
            f"the learner is {what}; wanted what etir.compile returns",
            help="etir.fit(etir.compile(model, *inputs, window=...), loss, optimizer, batches)",
        )
    known = [*inspect.signature(fit).parameters][4:-1] + [*inspect.signature(learner.train).parameters][2:]
    for name in options:
        if name not in known:
            raise error("unknown-option", f"etir.fit has no option '{name}'", help=did_you_mean(name, known))
    check_count("epochs", epochs)
    if sequence not in SEQUENCES:
        raise error("fit-option", f"sequence={sequence!r}; wanted {', '.join(map(repr, SEQUENCES[:-1]))} or 'run'")
    if carry is not None and sequence == "batch":
        raise error(
            "fit-option",
            "a carry is given, and each batch begins a sequence of its own",
            help="sequence='epoch' or sequence='run' goes on from batch to batch",
        )
