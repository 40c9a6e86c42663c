"""A model as a pure step over dicts by path: where native modules and those of other libraries meet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax

from ..ir.diagnostics import EtirError
from ..ir.loc import Loc
from . import errors, frame
from .state import State

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Functional:
    """A model as a pure step, `step(params, states, *inputs) -> (new states, outputs)`.

    Unpacks as `step, params, states = functionalise(...)`.
    """

    step: Callable[..., tuple[dict[str, Any], Any]]
    params: dict[str, Any]
    """The weights' values by path, those that the step does not use included; trees may be nested."""
    states: dict[str, Any]
    """The values of all other states by path; those of a group or a tree are nested, so their leaves read `state.V`."""
    kinds: dict[str, str]
    """Of each path of `states`, or of paths below it: `hidden` (unless another is given), `short_term`, or `other`."""
    locs: dict[str, Loc | None] = field(default_factory=dict[str, Loc | None])
    """Where the state at each path was declared, weights included."""
    bindings: dict[str, State] = field(default_factory=dict[str, State])
    """The native state at each path, weights included; none for another library's model."""
    library: str | None = None
    """The library that the model is of, as it calls itself; None for a native one."""
    write: Callable[[Any, Values, Values], Any] | None = None
    """`write(model, params, states)` puts values into another library's model: the model with them in it."""
    sites: str = "explicit"
    """Which uses of weights are traced where the user does not say."""

    def __iter__(self) -> Iterator[Any]:
        return iter((self.step, self.params, self.states))

    def write_back(self, states: Values, params: Values | None = None) -> None:
        """Write values into a native model: of all its states, and of weights if given.

        Raises EtirError where they do not fit.
        """
        wanted = [*self.states, *(self.params if params is not None else ())]
        write_states(self.bindings, {**states, **(params or {})}, wanted)

    def refuse_compiled(self) -> None:
        """Raise EtirError for a weight that holds something that must not be trained."""
        for path, state in self.bindings.items():
            if path in self.params and state.only_read:
                raise errors.compiled_weight(state)


def write_states(bindings: Mapping[str, State], given: Values, wanted: list[str]) -> None:
    """Write a value to each native state; EtirError where paths are missing or unknown, or a value does not fit."""
    check_paths("write_back", given, wanted)
    held = {path: frame.read(bindings[path]).value for path in wanted}
    findings = [
        errors.wrong_value("write_back", path, bindings[path], held[path], value)
        for path, value in given.items()
        if jax.tree.structure(value) != jax.tree.structure(held[path])
    ]
    if findings:
        raise EtirError(findings)
    for path, value in given.items():
        bindings[path].value = value


def check_paths(function: str, given: Values, wanted: list[str]) -> None:
    """Raise EtirError where a dict by path lacks some of the paths that are wanted, or has others."""
    missing = [path for path in wanted if path not in given]
    unexpected = [path for path in given if path not in wanted]
    if missing or unexpected:
        raise errors.wrong_paths(function, missing, unexpected, wanted)
