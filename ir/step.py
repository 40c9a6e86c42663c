"""A lowered step: what every frontend produces and the passes begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from .loc import Loc
from .types import TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One array of a step's arguments or results: its dotted path and its type."""

    path: str
    type: TensorType
    declared: str | None = None
    """For a state, the kind that the user declared: `hidden`, `buffer`, or None for "by its element type"; for an input
    `mark`, where the step is told by it whether it counts, or whether a sequence begins."""
    loc: Loc | None = None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Step:
    """`step(params, states, *inputs) -> (new states, outputs)` as a closed jaxpr over flat leaves.

    The jaxpr's arguments are the leaves of the parameters, then of the states, then of the inputs; its results are the
    leaves of the new states, in the states' order, then of the outputs.
    """

    name: str
    jaxpr: Any = field(repr=False)
    params: tuple[Leaf, ...]
    states: tuple[Leaf, ...]
    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    signature: Signature = field(repr=False)
    loc: Loc | None = None
    sites: str = "explicit"
    """Which uses of weights are traced where the user does not say: see `etir.analyse`."""
    again: Callable[[Any, tuple[Any, ...]], Step] | None = field(default=None, repr=False)
    """Lowers the same function for other example states and inputs; None where only the jaxpr is known."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Signature:
    """How the flat leaves of a step are put together: the trees, and the example values of parameters and states."""

    params: Any
    states: Any
    inputs: Any
    outputs: Any
    example_params: Any = None
    example_states: Any = None
    example_inputs: Any = None
    """Their shapes and element types alone."""
    initial: tuple[str, ...] = ()
    """The paths of the states whose first values are learned; then the trees are those of `ir/beginning.py`."""
    marks: tuple[str, ...] = ()
    """The names of the marks that the step takes, in a dictionary behind its inputs; `inputs` is without them."""
    write: Callable[[Any, Any, Any], Any] | None = None
    """`write(model, params, states)` puts values into the module that the step is of; None for a plain function's."""


def leaf_paths(tree: Any, bare: str) -> list[tuple[str, Any]]:
    """The leaves of a pytree with dotted paths: `cell.w`, `layers.0.w`; a tree that is one leaf is called `bare`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(".".join(filter(None, map(_key, path))) or bare, leaf) for path, leaf in leaves]


def _key(entry: Any) -> str:
    for attribute in ("key", "name", "idx"):
        value = getattr(entry, attribute, None)
        if value is not None:
            return str(value)
    return str(entry).strip(".[]'\"")


StepFunction = Callable[..., tuple[Any, Any]]
Declarations = Mapping[str, str] | Sequence[str]
