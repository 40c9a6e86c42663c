"""Native states for a model of another library, so that a stateful learner can read and write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax

from ..ir.step import leaf_paths
from ..ir.types import TensorType
from .functional import Functional
from .state import HiddenState, HiddenTreeState, ParamState, State


def hosted(model: Functional, known: Mapping[str, State]) -> Functional:
    """The same step, bound to native states that begin with the model's values: its weights, and all others.

    A state that carries credit is a `HiddenState`, or a `HiddenTreeState` where it holds several arrays. A weight that
    is `known` by its path already stays as it is. The model itself is not written.
    """
    weights = {path: known.get(path) or ParamState(value, name=path) for path, value in model.params.items()}
    states = {path: _kind(model, path, value)(value, name=path) for path, value in model.states.items()}
    return replace(model, bindings={**weights, **states})


def _kind(model: Functional, path: str, value: Any) -> type[State]:
    leaves = leaf_paths({path: value}, path)
    if not any(TensorType.of(leaf).carries_credit and own not in model.kinds for own, leaf in leaves):
        return State
    return HiddenState if jax.tree_util.all_leaves([value]) else HiddenTreeState
