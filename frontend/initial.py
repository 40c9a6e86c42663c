"""Learned initial states: a step in which each is a parameter that is used once, at a sequence's first step."""

from __future__ import annotations

import fnmatch
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.beginning import WithBegun, WithInitial
from ..ir.diagnostics import Diagnostic, EtirError, did_you_mean
from ..ir.marks import SAMPLE
from ..ir.step import leaf_paths
from ..ir.types import TensorType
from ..ir.weight_operations import identity
from .marks import batch_of


def with_initial(
    step: Callable[..., Any], params: Any, states: Any, globs: Sequence[str], marks: Mapping[str, str]
) -> tuple[Callable[..., Any], WithInitial, WithBegun]:
    """A step, its parameters and its states, in which the first values of the states that match a glob are parameters.

    `h0` enters the first step as `h + first * (h0 - stop_gradient(h0))` through an ETP operation: nothing is added to
    the numbers, and the derivative by `h0` is that by the state. So a learning rule gives it a trace, `dh/dh0`, and a
    label, as it does any weight. Where steps are marked by `reset`, sequences begin with `h0` anew; where samples are
    marked, each has begun or not. Raises EtirError for a glob that matches no state that carries credit.
    """
    chosen = _chosen(states, globs)
    begun = jnp.zeros((batch_of(states, marks),) if SAMPLE in marks.values() else (), bool)

    def begun_step(params: WithInitial, states: WithBegun, *inputs: Any) -> Any:
        leaves, structure = jax.tree.flatten(states.given)
        first = jnp.logical_not(states.begun)
        for place, path in chosen.items():
            initial = params.initial[path]
            moved = identity(initial - jax.lax.stop_gradient(initial))
            at = first.reshape(first.shape + (1,) * (moved.ndim - first.ndim))
            now = jnp.where(at, jax.lax.stop_gradient(initial), leaves[place]) if "reset" in marks else leaves[place]
            leaves[place] = now + at.astype(moved.dtype) * moved
        returned = step(params.given, jax.tree.unflatten(structure, leaves), *inputs)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            return returned
        return WithBegun(returned[0], jnp.ones(begun.shape, bool)), returned[1]

    functools.update_wrapper(begun_step, step)
    leaves = jax.tree.leaves(states)
    initial = {path: leaves[place] for place, path in chosen.items()}
    return begun_step, WithInitial(params, initial), WithBegun(states, begun)


def _chosen(states: Any, globs: Sequence[str]) -> dict[int, str]:
    """The places and the paths of the states that match."""
    credited = {k: path for k, (path, x) in enumerate(leaf_paths(states, "state")) if TensorType.of(x).carries_credit}
    unknown = [glob for glob in globs if not fnmatch.filter(credited.values(), glob)]
    if unknown:
        raise EtirError([
            Diagnostic(
                code="initial-path",
                message=f"no state that carries credit matches '{glob}', given in initial=",
                help=did_you_mean(glob, credited.values()),
            )
            for glob in unknown
        ])  # fmt: skip
    return {k: path for k, path in credited.items() if any(fnmatch.fnmatchcase(path, glob) for glob in globs)}
