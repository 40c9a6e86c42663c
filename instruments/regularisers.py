"""Penalties on hidden states that are losses of one step, so that they are learned online as any loss is."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..frontend import Functional, functionalise
from ..ir.diagnostics import did_you_mean, error
from ..ir.loc import definition
from ..ir.step import leaf_paths
from ..lowering import modelled

Of = str | Sequence[str] | Callable[["Observed"], Any]
"""Which arrays a penalty is of: globs of states, or a function of what a step returned."""


class Observed(NamedTuple):
    """What a step of a model that shows its states returns."""

    outputs: Any
    """The model's own outputs."""
    states: Any
    """The states that the step leaves."""
    before: Any
    """The states that it entered with."""


Penalty = Callable[[Observed], Any]


def with_states(model: Any, *inputs: Any) -> Any:
    """The same model, whose outputs are `Observed`: its own, with the states after and before the step.

    Of a plain function `step(params, states, *inputs)` it makes another; of a module, ours or another library's, and
    its example inputs, or of what `etir.functionalise` made, what `etir.compile(model, *inputs)` takes. What is traced
    does not change: a loss that reads states sends its credit where that of the outputs goes, at once by the new states
    and by the traces through those before.
    """
    if isinstance(model, Functional):
        return replace(model, step=_observed(model.step))
    if (found := modelled(model, inputs)) is not None:
        made = functionalise(found[0], *found[1])
        return replace(made, step=_observed(made.step))
    return _observed(model)


def _observed(step: Callable[..., Any]) -> Callable[..., Any]:
    def observed(params: Any, states: Any, *inputs: Any) -> tuple[Any, Observed]:
        after, outputs = step(params, states, *inputs)
        return after, Observed(outputs, after, states)

    observed.__name__ = getattr(step, "__name__", "step")
    observed.defined_at = definition(step)  # pyright: ignore[reportFunctionMemberAccess]
    return observed


def regularised(loss: Callable[..., Any], *penalties: Penalty) -> Callable[..., Any]:
    """A loss of a model that `with_states` made: `loss(outputs, *target)` and the penalties of the states, added.

    Where `loss` returns a pair, the second is returned beside the sum.
    """

    def whole(observed: Observed, *target: Any) -> Any:
        if not isinstance(observed, Observed):
            raise error(
                "regularised-outputs",
                "a regularised loss was given outputs that do not show the model's states",
                help="compile the model as etir.instruments.with_states(step) makes it",
            )
        value = loss(observed.outputs, *target)
        added = sum((penalty(observed) for penalty in penalties), start=jnp.zeros(()))
        return (value[0] + added, value[1]) if isinstance(value, tuple) else value + added

    return whole


def activity(weight: float = 1e-4, of: Of = "*") -> Penalty:
    """`weight` times the mean square of the states: keeps activations moderate.

    Summed over steps, or averaged with `reduction="mean"`, it is activity regularisation (Merity et al. 2017).
    """

    def penalty(observed: Observed) -> jax.Array:
        return weight * _mean_square(_arrays(of, observed))

    return penalty


def temporal_activation(weight: float = 1e-4, of: str | Sequence[str] = "*") -> Penalty:
    """`weight` times the mean square of what the states moved by in this step: keeps them smooth over time.

    It is temporal activation regularisation (Merity et al. 2017), with the first step's move, from the initial states,
    in it. Its gradient through the states before is carried by the traces, and is what the labels say.
    """

    def penalty(observed: Observed) -> jax.Array:
        pairs = zip(_arrays(of, observed), _arrays(of, observed._replace(states=observed.before)), strict=True)
        return weight * _mean_square([after - before for after, before in pairs])

    return penalty


def spike_rate(target: float, weight: float = 1.0, of: Of = "*") -> Penalty:
    """`weight` times the squared distance of the share of neurons that spike in a step, of all samples, from `target`.

    `of` says where the spikes are: globs of states, or a function of `Observed`, as `lambda o: o.outputs["spikes"]`.
    Its gradient goes through the surrogate derivative.
    """

    def penalty(observed: Observed) -> jax.Array:
        arrays = _arrays(of, observed)
        rate = sum((jnp.sum(x) for x in arrays), start=jnp.zeros(())) / sum(x.size for x in arrays)
        return weight * (rate - target) ** 2

    return penalty


def _mean_square(arrays: list[Any]) -> jax.Array:
    total = sum((jnp.sum(jnp.abs(x) ** 2) for x in arrays), start=jnp.zeros(()))
    return total / sum(x.size for x in arrays)


def _arrays(of: Of, observed: Observed) -> list[Any]:
    """The arrays that a penalty is of. Raises EtirError for a glob that matches no state of floating type."""
    if callable(of):
        return jax.tree.leaves(of(observed))
    found = [(path, x) for path, x in leaf_paths(observed.states, "state") if jnp.issubdtype(x.dtype, jnp.inexact)]
    globs = (of,) if isinstance(of, str) else tuple(of)
    kept = [x for path, x in found if any(fnmatch.fnmatchcase(path, glob) for glob in globs)]
    if not kept:
        paths = [path for path, _ in found]
        raise error("penalty-states", f"of={of!r} matches no state", help=did_you_mean(str(globs[0]), paths))
    return kept
