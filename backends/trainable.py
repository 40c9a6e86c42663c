"""Parameters in two parts: those that learn, which optimisers see, and those that are frozen, which nothing touches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ..ir.diagnostics import error
from .calls import Arrays


@dataclass(frozen=True, slots=True)
class Trainable:
    """The structure of a learner's parameters, and the places of the leaves that are frozen."""

    structure: Any
    frozen: frozenset[int]

    def only(self, leaves: Sequence[Any]) -> Any:
        """The tree of these leaves, None in the place of each that is frozen."""
        kept = [None if k in self.frozen else x for k, x in enumerate(leaves)]
        return jax.tree.unflatten(self.structure, kept)

    def of(self, tree: Any) -> Any:
        """`only` of a tree's leaves; the tree itself where it is none of the parameters."""
        leaves, structure = jax.tree.flatten(tree)
        return self.only(leaves) if structure == self.structure else tree

    def moving(self, leaves: Sequence[Any]) -> Arrays:
        """The leaves that are not frozen."""
        return [x for k, x in enumerate(leaves) if k not in self.frozen]

    def whole(self, moving: Sequence[Any], leaves: Sequence[Any]) -> Arrays:
        """All leaves: those that are not frozen from the first, the others from the second."""
        remaining = iter(moving)
        return [x if k in self.frozen else next(remaining) for k, x in enumerate(leaves)]

    def updated(
        self, optimizer: Any, grads: Sequence[Any], opt_state: Any, moving: Arrays, leaves: Arrays
    ) -> tuple[Arrays, Any]:
        """The leaves that are not frozen, and the optimiser's state, after an update by what learns.

        `grads` has None where `leaves`, the parameters, are frozen. An optimiser whose state was made of all parameters
        gets them all, and zero gradients of those that are frozen; what it makes of these is left.
        """
        now = self.whole(moving, leaves)
        tree = self.only(now)
        ascent = [None if g is None else jnp.conj(g) for g in grads]
        if not self._is_state(optimizer, tree, opt_state):
            tree = jax.tree.unflatten(self.structure, now)
            ascent = [jnp.zeros_like(x) if g is None else g for g, x in zip(ascent, now, strict=True)]
        updates, opt_state = optimizer.update(jax.tree.unflatten(self.structure, ascent), opt_state, tree)
        moved = jax.tree.map(_moved, updates, jax.tree.unflatten(self.structure, now), is_leaf=lambda x: x is None)
        return self.moving(jax.tree.leaves(moved)), opt_state

    def check_state(self, optimizer: Any, leaves: Arrays, opt_state: Any) -> None:
        """Raise EtirError for an optimiser's state that is not like its `init` of all leaves, or of what learns."""
        tree = jax.tree.unflatten(self.structure, leaves)
        if not self._is_state(optimizer, tree, opt_state) and not self._is_state(optimizer, self.of(tree), opt_state):
            refuse_state(optimizer, tree, opt_state)

    def _is_state(self, optimizer: Any, tree: Any, opt_state: Any) -> bool:
        """Whether an optimiser's `init` gives such a state; one without an `init` takes any."""
        wanted = _structure(optimizer, tree)
        return wanted is None or wanted == jax.tree.structure(opt_state)


def refuse_state(optimizer: Any, params: Any, opt_state: Any) -> None:
    """Raise EtirError for an optimiser's state that is not of the structure that its `init(params)` has."""
    wanted, found = _structure(optimizer, params), jax.tree.structure(opt_state)
    if wanted is not None and wanted != found:
        raise error(
            "argument-opt-state",
            "the optimiser's state is not what its init(params) gives",
            notes=(f"found {found}", f"wanted {wanted}"),
            help="train takes (params, opt_state, carry, xs, *targets); begin with optimizer.init(params)",
        )


def _structure(optimizer: Any, params: Any) -> Any | None:
    """The structure of an optimiser's first state; None where it does not say how it begins."""
    init = getattr(optimizer, "init", None)
    return jax.tree.structure(jax.eval_shape(init, params)) if callable(init) else None


def _moved(update: jax.Array | None, param: jax.Array) -> jax.Array:
    """A parameter after its update; an optimiser may leave one alone."""
    return param if update is None else (param + update).astype(param.dtype)
