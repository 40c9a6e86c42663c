"""What one call of `learner.train` learns from, and how data become it: shuffled minibatches, padded sequences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import jax
import numpy as np

from ..ir.diagnostics import error
from .counts import check_count

Batches = Iterable[Any] | Callable[[int], Iterable[Any]]
"""Batches of one epoch, gone through anew in each; or a function of the epoch, counted from zero, that gives them."""


class Batch:
    """The arguments of `learner.train` after the carry: `Batch(xs, *targets, mask=..., reset=..., ...)`."""

    __slots__ = ("signals", "targets", "xs")

    def __init__(self, xs: Any, *targets: Any, **signals: Any) -> None:
        """Time is the first axis of each: `xs` `[time, ...]`, a tuple where the step takes several inputs."""
        self.xs, self.targets, self.signals = xs, targets, signals


def batch_of(given: Any) -> Batch:
    """A batch as it is, or made of a tuple `(xs, *targets)`. Raises EtirError for anything else."""
    if isinstance(given, Batch):
        return given
    if not isinstance(given, tuple) or not given:
        raise error(
            "fit-batch",
            f"a batch is of type {type(given).__name__}; wanted a tuple (xs, *targets) or an etir.training.Batch",
            help="a batch without targets is (xs,); masks go by name: Batch(xs, *targets, mask=mask)",
        )
    return Batch(*given)


def batches_of(batches: Batches, epoch: int, first: int = 0) -> Iterator[Batch]:
    """The batches of an epoch, from the one at place `first` on. Raises EtirError for what gives no batches."""
    if isinstance(batches, Batch) or (isinstance(batches, tuple) and hasattr(next(iter(batches), None), "ndim")):
        raise error(
            "fit-batches",
            "one batch was given where all batches of an epoch are wanted",
            help="put it into a list: etir.fit(learner, loss, optimizer, [(xs, *targets)])",
        )
    found = batches(epoch) if callable(batches) else batches
    if not isinstance(found, Iterable):
        raise error(
            "fit-batches",
            f"the batches are of type {type(found).__name__}; wanted tuples (xs, *targets) one after the other",
            help="give a list, or a function of the epoch that returns one",
        )
    return map(batch_of, islice(found, first, None))


@dataclass(frozen=True, slots=True, eq=False)
class Minibatches:
    """Samples drawn without replacement, `size` at a time, in another order each epoch: for `etir.fit`.

    Arrays have time first and samples second, `[time, samples, ...]`; those that have samples alone, as labels do, are
    given as `per_sample`, come after the others, and are repeated over time. `mask` is for a learner that takes one for
    each sample. The samples left over at an epoch's end are left out. The order is a function of seed and epoch, so
    that training goes on from a checkpoint as it would have gone on.
    """

    arrays: Any
    """Inputs, and targets that differ from step to step: a tuple, or one; `((a, b), targets)` for two inputs."""
    size: int
    per_sample: Any = ()
    mask: Any = None
    """`[time, samples]`."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("arrays", "per_sample"):
            given = getattr(self, name)
            object.__setattr__(self, name, tuple(given) if isinstance(given, tuple | list) else (given,))
        check_count("size", self.size)
        over_time = [np.shape(a) for a in jax.tree.leaves((self.arrays, self.mask))]
        found = {shape[1] if len(shape) > 1 else 0 for shape in over_time}
        found |= {(np.shape(a) or (0,))[0] for a in jax.tree.leaves(self.per_sample)}
        if len(found) != 1 or self.size > max(found):
            counts = " and ".join(map(str, sorted(found)))
            raise error(
                "fit-batches",
                f"minibatches of {self.size} cannot be drawn from arrays of {counts} samples",
                help="arrays are [time, samples, ...], those of per_sample [samples, ...]",
            )

    def __len__(self) -> int:
        return self._shape()[1] // self.size

    def __call__(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch."""
        steps, samples = self._shape()
        order = np.random.default_rng((self.seed, epoch)).permutation(samples)
        for k in range(len(self)):
            chosen = order[k * self.size : (k + 1) * self.size]
            over_time, mask = jax.tree.map(lambda a, at=chosen: np.asarray(a)[:, at], (self.arrays, self.mask))
            each = jax.tree.map(lambda a, at=chosen: np.asarray(a)[at], self.per_sample)
            repeated = jax.tree.map(lambda a: np.broadcast_to(a, (steps, *a.shape)), each)
            yield Batch(*over_time, *repeated, **({} if mask is None else {"mask": mask}))

    def _shape(self) -> tuple[int, int]:
        """Steps and samples."""
        return np.shape(jax.tree.leaves(self.arrays)[0])[:2]


def pad(sequences: Sequence[Any], steps: int | None = None) -> tuple[Any, np.ndarray]:
    """Sequences of several lengths as one array `[time, samples, ...]`, zeros at the end, and the mask of what counts.

    Each is an array `[time, ...]`, or a tree of such. `steps` is the length to pad to, by default that of the longest.
    The mask is boolean, `[time, samples]`, for a learner that was compiled with `mask="sample"`. Raises EtirError for
    a sequence longer than that, and where there is none.
    """
    if not len(sequences):
        raise error("sequence-length", "there is no sequence to pad")
    lengths = [len(jax.tree.leaves(s)[0]) for s in sequences]
    longest = max(lengths)
    steps = longest if steps is None else steps
    if longest > steps:
        raise error("sequence-length", f"a sequence has {longest} steps; it cannot be padded to {steps}")

    def padded(*parts: Any) -> np.ndarray:
        whole = np.zeros((steps, len(parts), *np.shape(parts[0])[1:]), np.asarray(parts[0]).dtype)
        for k, part in enumerate(parts):
            whole[: len(part), k] = part
        return whole

    return jax.tree.map(padded, *sequences), np.arange(steps)[:, None] < np.asarray(lengths)
