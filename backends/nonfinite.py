"""Training that looks for numbers that are not finite: at which step they began, by name, and what was good before.

What is looked at in a window is small: losses, hidden states, gradients. A parameter or a trace that is not finite
makes them so in the next window, and the last ones are looked at once. Only where something was found is training
repeated up to it, and its window taken step by step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ..ir.diagnostics import Diagnostic, EtirError, error, warn
from .calls import Arrays
from .carry import Carry
from .drivers import Update, Windowed
from .results import Trained

if TYPE_CHECKING:
    from .driven import Driven

CHOICES = ("ignore", "stop", "raise")


class NonFiniteError(EtirError):
    """A number became other than finite while `learner.train(..., on_nonfinite="raise")` ran."""

    def __init__(self, diagnostics: Sequence[Diagnostic], trained: Trained) -> None:
        """Keep what was trained before."""
        super().__init__(diagnostics)
        self.trained = trained
        """Parameters, optimiser's state and carry after the last good window, and the losses up to it."""


class Watched(NamedTuple):
    """What training gives, and the first window after which something was not finite; -1 for none."""

    params: Any
    opt_state: Any
    carry: Carry
    losses: jax.Array
    aux: Any
    bad: jax.Array


class Call(NamedTuple):
    """What a call of `train` was given."""

    params: Any
    opt_state: Any
    carry: Carry
    xs: Any
    targets: Any
    signals: dict[str, Any]

    def steps(self, start: int, stop: int) -> tuple[Any, Any, Any]:
        """Inputs, targets and signals of some of its steps."""
        signals = {name: x for name, x in self.signals.items() if x is not None}
        return jax.tree.map(lambda a: a[start:stop], (self.xs, self.targets, signals))


def check_choice(given: Any, resumable: bool) -> None:
    """Raise EtirError for something that `on_nonfinite` may not be."""
    if given not in CHOICES:
        raise error("unknown-option", f"on_nonfinite={given!r}; wanted one of {', '.join(map(repr, CHOICES))}")
    if given != "ignore" and resumable:
        raise error(
            "option-pair",
            f"on_nonfinite={given!r} takes training back to the last good window, which resumable=True may hold open",
            help="leave one out; a call that is resumable can be checked by its losses",
        )


def watched(gradient: Windowed, update: Update, hidden: Sequence[int]) -> tuple[Windowed, Update]:
    """The same, which note in what updates carry, `(own, bad, window)`, the first window that is not good."""

    def watching(moving: Arrays, *rest: Any) -> Any:
        grads, losses, states, traces, aux = gradient(moving, *rest)
        good = are_finite((grads, losses, [states[k] for k in hidden]))
        return (grads, good), losses, states, traces, aux

    def noting(grads: Any, own: Any, moving: Arrays) -> tuple[Arrays, Any]:
        (grads, good), (own, bad, at) = grads, own
        moving, own = update(grads, own, moving)
        return moving, (own, jnp.where((bad < 0) & ~good, at, bad), at + 1)

    return watching, noting


def are_finite(tree: Any) -> jax.Array:
    """Whether all numbers of a tree are."""
    found = [jnp.isfinite(x).all() for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.stack(found).all() if found else jnp.ones((), bool)


def trained_while_finite(driven: Driven, options: tuple[Any, ...], call: Call, then: str) -> Trained:
    """Training up to the last window in which all is finite; `then` it stops with a warning, or raises.

    `options` are the loss, the optimiser and the reduction.
    """
    if any(isinstance(x, Tracer) for x in jax.tree.leaves(call)):
        raise error(
            "nonfinite-traced",
            f"on_nonfinite={then!r} looks at numbers, and inside a transform of JAX there are none yet",
            help="call it outside jax.jit: it is compiled by itself; or leave on_nonfinite= out",
        )
    *found, bad = driven.watched_train(*options, *call)
    if int(bad) < 0:
        return Trained(*found)
    good, trained = _last_good(driven, options, call, int(bad))
    began = good * driven.window
    what = next(_begun(driven, options, call, trained, began), "something")
    finding = Diagnostic(
        code="became-nonfinite",
        severity="error" if then == "raise" else "warning",
        message=f"{what}, and everything before it is finite",
        notes=(f"the steps before the window that it is in, {began} of this call, are trained and kept",),
        help="a smaller learning rate, or optax.clip_by_global_norm; jax.debug_nans says where in a step a NaN is made",
    )
    if then == "raise":
        raise NonFiniteError([finding], trained)
    warn(finding)
    return trained


def _last_good(driven: Driven, options: tuple[Any, ...], call: Call, bad: int) -> tuple[int, Trained]:
    """How many windows are good, of which the one of this number is not, and what is trained by them."""
    for count in range(bad, 0, -1):
        found: Trained = driven.train(*options, *call[:3], *call.steps(0, count * driven.window))
        if are_finite((found.params, found.carry.traces)):
            return count, found
    kinds = jax.eval_shape(lambda: driven.train(*options, *call))
    losses, aux = jax.tree.map(lambda x: jnp.zeros((0, *x.shape[1:]), x.dtype), (kinds.losses, kinds.aux))
    return 0, Trained(*call[:3], losses, aux)


def _begun(driven: Driven, options: tuple[Any, ...], call: Call, trained: Trained, start: int) -> Iterator[str]:
    """What is not finite in the window that begins at a step: at the first of its steps, or in it as a whole."""
    transition, (loss, optimizer, reduction) = driven.engine.transition, options
    plan, carry, params = transition.plan, trained.carry, trained.params
    assert plan is not None
    length = jax.tree.leaves((call.xs, call.targets, call.signals))[0].shape[0]
    stop = min(start + driven.window, length)
    hidden = {state.path for state in transition.hidden}
    for step in range(start, stop):
        given = call.steps(step, step + 1)
        names = [given_.path for given_ in transition.inputs]
        yield from _not_finite("input", names, jax.tree.leaves(given[0]), step)
        found = driven.gradient(loss, "sum", False, params, carry, *given)
        carry = found.carry
        states = zip(transition.states, jax.tree.leaves(carry.states), strict=True)
        kept = [(state.path, x) for state, x in states if state.path in hidden]
        yield from _not_finite("state", [path for path, _ in kept], [x for _, x in kept], step)
        yield from _not_finite("the loss", [""], [found.losses], step)
        traces = driven.engine.lag.settled(carry.traces)
        yield from _not_finite("trace", [trace.label for trace in plan.traces], traces, step)
        learned = [param.path for param in transition.params if not param.frozen]
        yield from _not_finite("the gradient by", learned, jax.tree.leaves(found.grads), step)
    where = f"of the window from step {start} to step {stop - 1}"
    whole = call.steps(start, stop)
    found = driven.gradient(loss, reduction, False, params, trained.carry, *whole)
    learned = [param.path for param in transition.params if not param.frozen]
    yield from _not_finite("the gradient by", learned, jax.tree.leaves(found.grads), where)
    after = driven.train(loss, optimizer, reduction, params, trained.opt_state, trained.carry, *whole)
    names = [param.path for param in transition.params]
    yield from _not_finite("parameter", names, jax.tree.leaves(after.params), f"after the update at the end {where}")


def _not_finite(kind: str, names: Sequence[str], arrays: Sequence[Any], where: int | str) -> Iterator[str]:
    """In words, each of some arrays that is not finite."""
    place = f"at step {where}" if isinstance(where, int) else where
    for name, x in zip(names, arrays, strict=False):
        if not are_finite([x]):
            number = "NaN" if bool(jnp.isnan(x).any()) else "infinite"
            yield f"{kind} '{name}' is {number} {place}" if name else f"{kind} is {number} {place}"
