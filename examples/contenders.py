"""The three learners that the demo compares, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import optax
from gru import gru, initial_params, initial_states
from recall import CHANNELS, LONGEST, STREAMS, SYMBOLS, TRIAL, WINDOW, Stream, loss

import etir
from etir import Learner, Trained

UNITS = 32
PARAMS = initial_params(jax.random.key(0), inputs=CHANNELS, units=UNITS, outputs=SYMBOLS, cues=SYMBOLS, longest=LONGEST)
STATES = initial_states(STREAMS, UNITS)
INPUT = jax.numpy.zeros((STREAMS, CHANNELS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A way to learn from a stream."""

    name: str
    window: int
    """Steps between two updates, and the reach of ordinary backpropagation."""
    carry: Any
    """What it carries from step to step, at the beginning."""
    train: Callable[..., Trained]
    """`(params, opt_state, carry, *stream) -> Trained`: updates at the end of every window."""
    gradient: Callable[..., Any]
    """`(params, carry, *stream)`: the gradient over a whole sequence, for its memory."""


def optimizer(updates: int) -> optax.GradientTransformation:
    """The same for all: Adam behind a clipped norm, its rate falling to zero over so many updates."""
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(5e-3, updates)))


def contenders(steps: int) -> tuple[Learner, list[Contender]]:
    """The learner that etir compiles, and all three contenders, for a training of `steps` steps."""
    ours = etir.compile(gru, PARAMS, STATES, INPUT, rule="d_rtrl", window=WINDOW)
    cut = etir.compile(gru, PARAMS, STATES, INPUT, rule="bptt", window=WINDOW)
    adam = optimizer(steps // WINDOW)
    return ours, [
        _compiled("etir: D-RTRL", ours, adam),
        _compiled("truncated", cut, adam),
        Contender(
            name="BPTT, each trial",
            window=TRIAL,
            carry=STATES,
            train=_bptt(optimizer(steps // TRIAL)),
            gradient=_through_time,
        ),
    ]


def _compiled(name: str, learner: Learner, adam: optax.GradientTransformation) -> Contender:
    return Contender(
        name=name,
        window=WINDOW,
        carry=learner.init(),
        train=learner.train(loss, adam, reduction="mean"),
        gradient=learner.grad(loss),
    )


def _through_time(params: Any, states: Any, *stream: jax.Array) -> Any:
    """The gradient of a sequence's mean loss by `jax.grad` of a scan, with `(states, losses, aux)` beside it."""

    def mean_loss(params: Any) -> Any:
        def step(states: Any, now: Any) -> Any:
            states, logits = gru(params, states, now.inputs)
            return states, loss(logits, now.answers, now.queries)

        after, (losses, aux) = jax.lax.scan(step, states, Stream(*stream))
        return losses.mean(), (after, losses, aux)

    return jax.grad(mean_loss, has_aux=True)(params)


def _bptt(adam: optax.GradientTransformation) -> Callable[..., Trained]:
    """Full backpropagation through each trial, with an update at its end."""

    def one(now: Any, trial: Any) -> Any:
        params, opt_state, states = now
        grads, (states, losses, aux) = _through_time(params, states, *trial)
        updates, opt_state = adam.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state, states), (losses, aux)

    @jax.jit
    def train(params: Any, opt_state: Any, states: Any, *stream: jax.Array) -> Trained:
        trials = jax.tree.map(lambda a: a.reshape(-1, TRIAL, *a.shape[1:]), stream)
        (params, opt_state, states), found = jax.lax.scan(one, (params, opt_state, states), trials)
        losses, aux = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), found)
        return Trained(params, opt_state, states, losses, aux)

    return train
