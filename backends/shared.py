"""Pytrees in which an array that stands in several places is one leaf, and in which some arrays are to be one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import jax

T = TypeVar("T")


@jax.tree_util.register_pytree_node_class
class Parts:
    """Arrays of one shape that a loop writes into one, along a leading axis."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        """Hold `arrays`."""
        self.arrays = list(arrays)

    def tree_flatten(self) -> tuple[list[Any], None]:
        """The arrays."""
        return self.arrays, None

    @classmethod
    def tree_unflatten(cls, where: None, arrays: Sequence[Any]) -> Parts:
        """The arrays again."""
        del where
        return cls(arrays)


def is_parts(x: Any) -> bool:
    """Whether something is `Parts`."""
    return isinstance(x, Parts)


@jax.tree_util.register_pytree_node_class
class Shared(Generic[T]):
    """Wraps a tree so that loops carry and stack each of its arrays once, however often the tree holds it.

    Sites that share their data, or whose sensitivities are one and the same, then cost one array.
    """

    def __init__(self, tree: T) -> None:
        """Wrap `tree`."""
        self.tree = tree

    def tree_flatten(self) -> tuple[list[Any], Any]:
        """The different arrays, and where each of them stands."""
        leaves, structure = jax.tree.flatten(self.tree, is_leaf=is_parts)
        place: dict[int, int] = {}
        unique: list[Any] = []
        for leaf in leaves:
            if id(leaf) not in place:
                place[id(leaf)] = len(unique)
                unique.append(leaf)
        return unique, (structure, tuple(place[id(leaf)] for leaf in leaves))

    def alike(self, tree: Any) -> Shared[Any]:
        """Another tree of the same structure, whose arrays are shared as those of this one are."""
        leaves, (_, (_, places)) = jax.tree.leaves(tree, is_leaf=is_parts), self.tree_flatten()
        first = [places.index(k) for k in places]
        return Shared(jax.tree.unflatten(jax.tree.structure(self.tree, is_leaf=is_parts), [leaves[k] for k in first]))

    @classmethod
    def tree_unflatten(cls, where: Any, unique: list[Any]) -> Shared[Any]:
        """The tree again, its shared arrays shared."""
        structure, places = where
        return cls(jax.tree.unflatten(structure, [unique[k] for k in places]))
