"""Saving and loading the values of states, by path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...ir.diagnostics import EtirError
from .. import errors, frame
from ..cell import Cell
from ..filters import Filter, matcher, states_of
from ..state import ParamState, State


def save_states(model: Any, kind: Filter = None) -> dict[str, Any]:
    """The values of a model's states by path, weights left out; those that `kind` matches where it is given.

    An unset state is saved as None. `save_states(model, ...)` saves the weights too.
    """
    return {path: frame.read(state).copied().value for path, state in _chosen("save_states", model, kind).items()}


def load_states(model: Any, values: Mapping[str, Any], strict: bool = True) -> Any:
    """`model`, its states set to `values`, which `save_states` gave.

    Nothing is loaded unless everything fits: EtirError names each value whose tree, shape or element type is not that
    of the state at its path (an unset state takes any), and, where `strict`, each path that is missing or unexpected.
    Without `strict` those are passed over. Which paths are wanted: those of all states but weights, and of the weights
    too if `values` has any of them.
    """
    states = states_of("load_states", model)
    findings = [
        errors.wrong_value("load_states", path, state, frame.read(state).value, values[path])
        for path, state in states.items()
        if path in values and not state.fits(values[path])
    ]
    if strict:
        findings += errors.missing_paths(
            "load_states", [path for path in _wanted(states, values) if path not in values]
        )
        unexpected = [path for path in values if path not in states]
        findings += errors.unexpected_paths("load_states", unexpected, list(states))
    if findings:
        raise EtirError(findings)
    for path, state in states.items():
        if path in values:
            value = None if values[path] is None else state.accept(values[path])
            frame.write(state, Cell(value=value, tags=state.tags))
    return model


def _chosen(function: str, model: Any, kind: Filter) -> dict[str, State]:
    matches = matcher((lambda state: not isinstance(state, ParamState)) if kind is None else kind)
    return {path: state for path, state in states_of(function, model).items() if matches(path, state)}


def _wanted(states: Mapping[str, State], values: Mapping[str, Any]) -> list[str]:
    weights = any(path in values and isinstance(state, ParamState) for path, state in states.items())
    return [path for path, state in states.items() if weights or not isinstance(state, ParamState)]
