"""What a stateful learner carries beside its model's states, as a state of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from .backends.carry import Carry
from .frontend import ShortTermState, frame
from .frontend.cell import is_array_like, same_types

OPEN = "unfinished"
"""The entry that has the steps of a window which is not full yet; None between windows."""
ENTRIES = set(Carry._fields) - {"states"}


class Carried(ShortTermState):
    """All that a carry holds but the model's states, by name: traces, what they belong to, and an open window.

    `samples` says which axes of samples the model's states have, so that what is loaded for them has those too.
    """

    def __init__(self, lazy: Callable[[Any], Any], name: str, samples: Callable[[], tuple[str, ...]]) -> None:
        super().__init__(lazy=lazy, name=name)
        self._samples = samples

    @property
    def tags(self) -> tuple[str, ...]:
        """Those of its own, or else the model's."""
        return super().tags or self._samples()

    def fits(self, value: Any) -> bool:
        """Whether `value` may be loaded here: a window may be open at another place, or not at all."""
        if value is None:
            return super().fits(value)
        if not isinstance(value, dict) or value.keys() != ENTRIES:
            return False
        held, closed = frame.read(self).value, _closed(value)
        if not all(is_array_like(leaf) for leaf in jax.tree.leaves(value)):
            return False
        return held is None or same_types(_closed(held), jax.tree.map(jnp.asarray, closed))

    def keep(self, carry: Carry) -> None:
        """Hold what belongs to this carry."""
        frame.write(self, replace(frame.read(self), value=self.accept(beside_states(carry))))

    def carry(self, states: Mapping[str, Any]) -> Carry:
        """The carry of these states."""
        return Carry(states=dict(states), **self.value)


def beside_states(carry: Carry) -> dict[str, Any]:
    """What a carry holds beside the states."""
    return {name: value for name, value in carry._asdict().items() if name in ENTRIES}


def _closed(held: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in held.items() if name != OPEN}
