"""A learner's model made ready to run over a sequence: flat arrays, checked as the learner's own methods check them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..backends import Learner
from ..ir import jaxpr as jx
from ..ir.beginning import WithBegun, WithInitial
from ..ir.diagnostics import error
from ..ir.step import leaf_paths
from ..ir.transition import Transition
from ..stateful import OnlineLearner

Arrays = list[jax.Array]
AnyLearner = Learner | OnlineLearner
"""What an instrument takes. An `OnlineLearner` stands for its learner, with the weights of now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run of a model begins with. Flat lists are in the transition's order."""

    learner: Learner
    """The learner for the batch that the states are."""
    params: Any
    states: Any
    xs: Any
    marks: Mapping[str, Any]
    steps: int
    flat_params: Arrays
    flat_states: Arrays
    flat_inputs: Arrays
    """The inputs, with a leading time axis, and the marks behind them."""

    @property
    def transition(self) -> Transition:
        """The transition of the model."""
        return self.learner.transition

    @property
    def state_paths(self) -> list[str]:
        """The paths of the model's own states, which come first among all."""
        return [path for path, _ in leaf_paths(self.states, "state")]


def prepared(
    learner: Learner,
    xs: Any = None,
    *,
    params: Any = None,
    states: Any = None,
    steps: int | None = None,
    marks: Mapping[str, Any] | None = None,
) -> Run:
    """A learner's model, and what it is run on.

    Parameters are by default those given at compile, states those of `learner.beginning(xs)`. `xs` has a leading
    time axis, and is a tuple where the step takes several inputs. Raises EtirError for what `learner.predict` would
    refuse.
    """
    given = dict(marks or {})
    params = learner.params if params is None else params
    states = learner.beginning(xs) if states is None else states
    jax.eval_shape(lambda p, s, x, m: learner.predict(p, s, x, steps=steps, **m), params, states, xs, given)
    own = learner.for_batch(states)
    kinds = [i.value.type for i in own.transition.inputs]
    leaves = [*jax.tree.leaves(xs), *(given[i.path] for i in own.transition.inputs if i.path in own.signature.marks)]
    inputs = [jnp.asarray(x, kind.dtype) for x, kind in zip(leaves, kinds, strict=True)]
    whole_params, whole_states = _whole(own, params, states)
    of_params, of_states = own.transition.params, own.transition.states
    return Run(
        learner=own,
        params=params,
        states=states,
        xs=xs,
        marks=given,
        steps=len(inputs[0]) if inputs else int(steps or 0),
        flat_params=_as([p.value.type.dtype for p in of_params], whole_params),
        flat_states=_as([s.before.type.dtype for s in of_states], whole_states),
        flat_inputs=inputs,
    )


def _whole(learner: Learner, params: Any, states: Any) -> tuple[Any, Any]:
    """The trees of the step itself, in which learned initial states stand beside the parameters."""
    if not learner.signature.initial:
        return params, states
    first = dict(leaf_paths(states, "state"))
    initial = {path: first[path] for path in learner.signature.initial}
    return WithInitial(params, initial), WithBegun(states, jnp.zeros((), bool))


def _as(kinds: list[str], tree: Any) -> Arrays:
    """The leaves of a tree as these element types; keys of random numbers stay as they are."""
    pairs = zip(jax.tree.leaves(tree), kinds, strict=True)
    return [x if _is_key(x) else jnp.asarray(x, kind) for x, kind in pairs]


def _is_key(x: Any) -> bool:
    return hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def looked_at(learner: Any, params: Any = None) -> tuple[Learner, Any]:
    """The learner that an instrument was given, and its weights: those of now where it holds them, None if it does not.

    `params`, if given, are the weights. Raises EtirError for what is no learner.
    """
    if isinstance(learner, OnlineLearner):
        return learner.learner, learner.params if params is None else params
    if not isinstance(learner, Learner):
        raise error(
            "instrument-learner",
            f"an instrument was given something of type {type(learner).__name__}; wanted a learner",
            help="make one with etir.compile(...): any model that compiles can be looked at",
        )
    return learner, params


def apart(learner: Learner, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments as those that the model takes, which are its marks, and the signals of the learning rule."""
    plan = learner.transition.plan
    signals = {signal.path for signal in plan.signals} if plan is not None else set[str]()
    return {k: x for k, x in given.items() if k not in signals}, {k: x for k, x in given.items() if k in signals}


def flat_step(transition: Transition) -> Callable[..., tuple[Arrays, Arrays]]:
    """The step of a transition as `(params, states, inputs, hook=None) -> (new states, outputs)`, all flat.

    `hook` may compute an equation of the step in its primitive's place, as `ir.jaxpr.evaluate` says. Raises EtirError
    for a transition that was read from text.
    """
    body, count = transition.region("step").body, len(transition.states)
    if body is None:
        raise error("no-bodies", "the learner's transition was read from text: it has no step to run")

    def step(params: Arrays, states: Arrays, inputs: Arrays, hook: jx.Hook | None = None) -> tuple[Arrays, Arrays]:
        found = jx.evaluate(body, [*params, *states, *inputs], hook=hook)
        return found[:count], found[count:]

    return step
