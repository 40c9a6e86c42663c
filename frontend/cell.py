"""What a state holds, and what leaves a transform: pytrees that carry states through JAX."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.step import leaf_paths
from ..ir.types import TensorType

if TYPE_CHECKING:
    from .state import State


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The value of a state, and the tags of its leading sample axes, outermost first.

    A value of None means that the state is unset.
    """

    value: Any = None
    tags: tuple[str, ...] = ()

    @property
    def is_set(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    def copied(self) -> Cell:
        """The same arrays in new containers, so that a change made in place is not seen elsewhere."""
        return replace(self, value=jax.tree.map(lambda leaf: leaf, self.value))

    def __str__(self) -> str:
        return type_text(self.value) + (f" per {' per '.join(self.tags)}" if self.tags else "")


@dataclass(frozen=True, kw_only=True)
class Writes:
    """What a traced function wrote: states, which of them it made, and what they hold.

    The states are static, so JAX's caches remember which ones a compiled program writes.
    """

    states: tuple[State, ...] = ()
    created: tuple[bool, ...] = ()
    cells: tuple[Cell, ...] = ()

    def only(self, keep: Sequence[bool]) -> Writes:
        """The writes for which `keep` is true."""
        chosen = [i for i, wanted in enumerate(keep) if wanted]
        return Writes(
            states=tuple(self.states[i] for i in chosen),
            created=tuple(self.created[i] for i in chosen),
            cells=tuple(self.cells[i] for i in chosen),
        )


# Called, not used as decorators, which would hide the classes from a type checker.
jax.tree_util.register_dataclass(Cell, data_fields=["value"], meta_fields=["tags"])
jax.tree_util.register_dataclass(Writes, data_fields=["cells"], meta_fields=["states", "created"])


def is_array_like(leaf: object) -> bool:
    """Whether `leaf` is an array, or a number that stands for one."""
    return isinstance(leaf, (jax.Array, np.ndarray, np.generic, bool, int, float, complex))


def strong_array(leaf: Any) -> jax.Array:
    """`leaf` as a JAX array of a strong element type, so that a second step finds the type that the first one left."""
    if isinstance(leaf, jax.Array) and not getattr(leaf, "weak_type", False):  # arrays of PRNG keys have no such thing
        return leaf
    if isinstance(leaf, jax.Array):
        return jax.lax.convert_element_type(leaf, leaf.dtype)
    return jnp.asarray(leaf, dtype=jnp.result_type(leaf))


def type_text(value: Any) -> str:
    """The type of a value as one reads it: `f32[4]`, `{I: f32[4], V: f32[4]}`, `unset`."""
    if value is None:
        return "unset"
    leaves = leaf_paths(value, "")
    if len(leaves) == 1 and not leaves[0][0]:
        return str(TensorType.of(leaves[0][1]))
    return "{" + ", ".join(f"{path}: {TensorType.of(leaf)}" for path, leaf in leaves) + "}"


def same_types(a: Any, b: Any) -> bool:
    """Whether two values have one tree structure, and the same shapes and element types."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return [TensorType.of(x) for x in jax.tree.leaves(a)] == [TensorType.of(x) for x in jax.tree.leaves(b)]
