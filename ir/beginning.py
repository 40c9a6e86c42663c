"""The trees of a step whose initial states are learned: what a step takes anyway, and what it takes beside that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
from jax.tree_util import DictKey


@dataclass(frozen=True)
class WithInitial:
    """Parameters, and beside them the initial value of each state that is learned, by the state's path."""

    given: Any
    initial: Any


@dataclass(frozen=True)
class WithBegun:
    """States, and beside them whether the sequence has begun: whether a step has been taken from its first states."""

    given: Any
    begun: Any


def _register(kind: type[Any], beside: str) -> None:
    """Make a pytree of a class, in whose paths what is given keeps its own, as if it stood alone."""

    def children(tree: Any) -> tuple[tuple[Any, ...], None]:
        return ((DictKey(""), tree.given), (DictKey(beside), getattr(tree, beside))), None

    jax.tree_util.register_pytree_with_keys(kind, children, lambda _, found: kind(*found))


_register(WithInitial, "initial")
_register(WithBegun, "begun")
