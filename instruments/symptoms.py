"""Symptoms of hidden states that do not work: how each is known, what causes it, and what to do.

One function a symptom, which returns what it found and where, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

NEAR_ZERO, NEAR_ONE = 0.01, 0.99
"""Activations below and above which a unit counts as silent, and as saturated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a diagnosis looks at. Arrays are numpy's, `[times, ...]`, of floating type."""

    states: Mapping[str, np.ndarray]
    batched: frozenset[str]
    """The states whose first axis after time is a batch, whose samples had different inputs."""
    grads: Mapping[str, np.ndarray]
    """The gradient of each parameter that learns; empty where no loss was given."""
    past: np.ndarray
    """The norm of the last output's derivative by the states, by steps ago; empty where it is not known."""
    learns: frozenset[str] = frozenset()
    """The parameters whose gradient the certificate does not call truncated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Symptom:
    """Something that is wrong."""

    name: str
    where: str
    """The path of the state or the weight."""
    found: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.name}: {self.where}: {self.found}\n    likely cause: {self.cause}\n    to do: {self.remedy}"


def not_finite(of: Evidence) -> Iterator[Symptom]:
    """NaN or infinity in a state or a gradient, and the step at which it began."""
    for kind, arrays in (("", of.states), ("gradient of ", of.grads)):
        for path, x in arrays.items():
            bad = ~np.isfinite(x)
            if bad.any():
                began = "" if kind else f", first after step {1 + int(bad.reshape(len(x), -1).any(1).argmax())}"
                yield Symptom(
                    name="not finite",
                    where=f"{kind}{path}",
                    found=f"{np.isnan(x).sum()} NaN, {np.isinf(x).sum()} infinite{began}",
                    cause="exploding states or gradients; a division, a logarithm or a root at zero",
                    remedy="clip the gradient (optax.clip_by_global_norm), lower the learning rate, "
                    "shrink the recurrent weights",
                )


def all_zeros(of: Evidence) -> Iterator[Symptom]:
    """A state that is near zero throughout."""
    for path, x in _finite(of.states):
        if np.abs(x).max() < NEAR_ZERO:
            yield Symptom(
                name="all zeros",
                where=path,
                found=f"|h| is at most {np.abs(x).max():.2g}",
                cause="no drive reaches it: inputs or weights too small, or a threshold that is never met; "
                "credit vanishes with it",
                remedy="look at the gradients' norms; scale inputs or initial weights up, lower the threshold",
            )


def saturated(of: Evidence) -> Iterator[Symptom]:
    """A state that is bounded by one and mostly at its bounds."""
    for path, x in _finite(of.states):
        share = (np.abs(x) > NEAR_ONE).mean()
        binary = np.isin(x, (0.0, 1.0)).all()
        if np.abs(x).max() <= 1 + 1e-6 and share > 0.5 and not binary:
            yield Symptom(
                name="saturated",
                where=path,
                found=f"{share:.0%} of |h| is above {NEAR_ONE}",
                cause="the drive is too large: the derivative of the squashing is nearly zero there",
                remedy="scale inputs or initial weights down, normalise the drive, penalise activity "
                "(instruments.activity)",
            )


def same_in_batch(of: Evidence) -> Iterator[Symptom]:
    """A state that is the same for every sample of a batch whose inputs differ."""
    for path, x in _finite(of.states):
        varies = np.ptp(x).item() > 0
        if path in of.batched and varies and np.ptp(x, axis=1).max() == 0:
            yield Symptom(
                name="same for every sample",
                where=path,
                found=f"all {x.shape[1]} samples agree at every step, and their inputs do not",
                cause="a mistake in batching: one sample is broadcast, or samples are averaged",
                remedy="print the state for two samples; look for a mean, a broadcast or a wrong axis",
            )


def dead(of: Evidence) -> Iterator[Symptom]:
    """Units of a state that never vary, where others do."""
    for path, x in _finite(of.states):
        flat = x.reshape(-1, x.shape[-1] if x.ndim > 1 else 1)
        still = np.ptp(flat, axis=0) == 0
        if still.any() and np.abs(x).max() >= NEAR_ZERO:
            yield Symptom(
                name="dead units",
                where=path,
                found=f"{still.sum()} of {len(still)} never vary",
                cause="they are below a threshold, or cut off by a rectifier, whatever comes in",
                remedy="look at instruments.dead_units and spike_rates; raise their drive, lower thresholds, widen the "
                "surrogate derivative, use a leaky rectifier",
            )


def no_gradient(of: Evidence) -> Iterator[Symptom]:
    """A weight that could learn and whose gradient is zero."""
    for path, grad in of.grads.items():
        if path in of.learns and grad.size and not np.abs(grad).any():
            yield Symptom(
                name="no gradient",
                where=path,
                found="its gradient is zero over the whole sequence",
                cause="units behind it are dead, or nothing that the loss reads depends on it",
                remedy="look at the activations behind it, and at learner.certificate",
            )


def exploding(of: Evidence) -> Iterator[Symptom]:
    """Credit that grows on its way into the past."""
    past = of.past
    if len(past) > 2 and np.isfinite(past).all() and past[0] > 0 and past[1:].max() > 100 * past[0]:
        yield Symptom(
            name="exploding gradients",
            where=f"{int(past.argmax())} steps ago",
            found=f"the derivative by the states is {past.max() / past[0]:.2g} times what it is now",
            cause="the recurrence amplifies: its Jacobian has eigenvalues beyond one",
            remedy="clip the gradient, shrink or orthogonalise recurrent weights, use a gated cell",
        )


def vanishing(of: Evidence) -> Iterator[Symptom]:
    """Credit that is gone at once."""
    past = of.past
    if len(past) > 4 and np.isfinite(past).all() and past[0] > 0 and past[3:].max() < 1e-4 * past[0]:
        yield Symptom(
            name="vanishing gradients",
            where="3 steps ago",
            found=f"the derivative by the states is {past[3:].max() / past[0]:.1g} of what it is now",
            cause="the recurrence forgets at once: weights too small, units saturated, gates shut",
            remedy="look at instruments.effective_memory; raise recurrent weights or leaks, open the forget gates "
            "(a bias of 1), use a gated cell",
        )


CHECKS: tuple[Callable[[Evidence], Iterator[Symptom]], ...] = (
    not_finite, all_zeros, saturated, same_in_batch, dead, no_gradient, exploding, vanishing,
)  # fmt: skip
"""Every symptom that a diagnosis looks for, in the order in which it names them."""


def _finite(states: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The states that have entries and are finite."""
    return ((path, x) for path, x in states.items() if x.size and np.isfinite(x).all())
