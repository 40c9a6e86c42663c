"""The hidden groups of a model, listed and drawn, as the tutorial that the project grew from has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .api import Sites, analyse
from .backends.learner import Learner
from .frontend import Module
from .ir.transition import Group, Transition
from .lowering import lower
from .view import summary
from .view import write_graph as draw


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenGroup:
    """Hidden states that depend on each other position by position."""

    index: int
    hidden_paths: tuple[str, ...]
    varshape: tuple[int, ...]
    """The shape that every state of the group has."""

    @property
    def num_state(self) -> int:
        """How many states."""
        return len(self.hidden_paths)


def find_hidden_groups_from_module(
    model: Module, *inputs: Any, sites: Sites = "explicit"
) -> tuple[tuple[HiddenGroup, ...], Mapping[str, HiddenGroup]]:
    """The hidden groups of a module called on `inputs`, and the group of each hidden state's path."""
    transition = analyse(lower(model, *inputs), sites)
    groups = tuple(_view(group) for group in transition.groups)
    return groups, {path: group for group in groups for path in group.hidden_paths}


def _view(group: Group) -> HiddenGroup:
    return HiddenGroup(
        index=group.index, hidden_paths=tuple(state.path for state in group.states), varshape=group.shape
    )


def show_graph(transition: Transition | Learner) -> None:
    """Print the hidden groups of a transition or of a learner, and the weights associated with each."""
    print(summary(_transition(transition)))  # noqa: T201 (what it is for)


def write_graph(transition: Transition | Learner, path: str | Path) -> Path:
    """Write the picture of a transition or of a learner as `.svg`, `.png`, `.pdf`, `.dot` or `.gv`; the path."""
    return draw(_transition(transition), path)


def _transition(given: Transition | Learner) -> Transition:
    return given.transition if isinstance(given, Learner) else given
