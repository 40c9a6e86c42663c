"""The arguments of a traced function: modules, states and what is declared static are structure, the rest inputs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from ..module import Module
from ..state import State


@jax.tree_util.register_static
@dataclass(frozen=True, slots=True)
class Static:
    """An argument that is part of the compiled program, not of its inputs."""

    value: Hashable


def freeze(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], numbers: Sequence[int] = (), names: Sequence[str] = ()
) -> Any:
    """The arguments, with what is static in a place where JAX takes it for structure."""
    chosen = {number % len(args) for number in numbers if -len(args) <= number < len(args)}
    marked = tuple(Static(arg) if i in chosen else arg for i, arg in enumerate(args))
    named = {name: Static(arg) if name in names else arg for name, arg in kwargs.items()}
    return jax.tree.map(
        lambda leaf: Static(leaf) if isinstance(leaf, (Module, State)) else leaf, (marked, named), is_leaf=_is_static
    )


def thaw(operands: Any) -> Any:
    """The arguments and the keywords again."""
    return jax.tree.map(lambda leaf: leaf.value if _is_static(leaf) else leaf, operands, is_leaf=_is_static)


def _is_static(leaf: object) -> bool:
    return isinstance(leaf, Static)
