"""Which positions of the hidden states outputs are read from, within a window and ever."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from ...coupling import Coupling
from ...ir import jaxpr as jx
from ...ir.dataflow import Dataflow
from ...ir.regions import STEP
from ...ir.transition import Association, State, Transition
from .variables import state_variables

Mask = npt.NDArray[np.bool_]


class Reach:
    """From which state positions the outputs can be reached, by any path, held or not."""

    def __init__(self, transition: Transition, flow: Dataflow) -> None:
        """Prepare to answer for `transition`."""
        self.flow, self.transition = flow, transition
        self.variables = state_variables(transition)
        self.before = {self.variables[s][0]: s for s in transition.states if s.before.type.carries_credit}
        self.outputs = jx.outvars(transition.region(STEP).body)[len(transition.states) :]
        self._within: list[dict[State, Mask]] = []

    def live(self) -> set[State]:
        """The states whose old values reach an output at some time."""
        found: set[State] = set()
        seen: set[Any] = set()
        pending = [s for atom in self.outputs for s in self.flow.of(atom)]
        while pending:
            source = pending.pop()
            if source in seen:
                continue
            seen.add(source)
            state = self.before.get(source)
            if state is not None:
                found.add(state)
                pending += self.flow.of(self.variables[state][1])
            if source in self.flow.held:
                pending += self.flow.held[source].feeds
        return found

    def sees(self, association: Association, states: Iterable[int], reach: Coupling | None, window: int) -> bool:
        """Whether some output within `window` steps reads a position that a trace follows, as it entered."""
        coupling = reach or association.union
        if coupling is None or 0 in (*coupling.in_shape, *coupling.out_shape):
            return True
        followed = _forward(coupling)
        own = [association.group.states[k] for k in states]
        for steps in range(1, window + 1):
            masks = self.within(steps)
            if any((masks[s] & followed).any() for s in own if s in masks):
                return True
            if steps > 1 and all(np.array_equal(masks[s], self.within(steps - 1)[s]) for s in masks):
                return False
        return False

    def within(self, steps: int) -> dict[State, Mask]:
        """The positions of each state from which an output of the next `steps` steps is reached."""
        while len(self._within) < steps:
            self._within.append(self._one_more(self._within[-1] if self._within else None))
        return self._within[steps - 1]

    def _one_more(self, known: dict[State, Mask] | None) -> dict[State, Mask]:
        masks: dict[Any, Mask] = {}
        pending: list[Any] = []

        def add(var: Any, mask: Mask) -> None:
            old = masks.get(var)
            new = mask if old is None else old | mask
            if old is None or (new & ~old).any():
                masks[var] = new
                pending.append(var)

        for atom in self.outputs:
            self._spread(atom, np.ones(jx.shape_of(atom), bool), add)
        for state, mask in (known or {}).items():
            if mask.any():
                self._spread(self.variables[state][1], mask, add)
        while pending:
            var = pending.pop()
            held = self.flow.held.get(var)
            for source in held.feeds if held is not None else ():
                add(source, np.ones(jx.shape_of(source), bool))
        empty = {s: np.zeros(s.before.type.shape, bool) for s in self.before.values()}
        return empty | {self.before[v]: m for v, m in masks.items() if v in self.before}

    def _spread(self, atom: Any, mask: Mask, add: Any) -> None:
        """Add what the marked positions of a value depend on."""
        for source, coupling in self.flow.of(atom).items():
            add(
                source,
                _back(coupling, mask) if coupling.out_shape == mask.shape else np.ones(jx.shape_of(source), bool),
            )


def _back(coupling: Coupling, mask: Mask) -> Mask:
    """The input positions that some marked output position depends on."""
    if coupling.is_identity or 0 in (*coupling.in_shape, *coupling.out_shape):
        return mask if coupling.is_identity else np.zeros(coupling.in_shape, bool)
    targets = coupling.targets(limit=max(16, math.prod(coupling.out_shape)))
    if targets is None:
        return np.full(coupling.in_shape, bool(mask.any()))
    return np.any(np.asarray(targets.gather(mask.astype(np.int8))), axis=-1, keepdims=False).astype(bool)


def _forward(coupling: Coupling) -> Mask:
    """The output positions that some input position feeds."""
    if coupling.is_identity or 0 in (*coupling.in_shape, *coupling.out_shape):
        return np.full(coupling.out_shape, coupling.is_identity)
    targets = coupling.targets(limit=max(16, math.prod(coupling.out_shape)))
    found = np.zeros(math.prod(coupling.out_shape), bool)
    if targets is None:
        return ~found.reshape(coupling.out_shape)
    positions = targets.positions()
    found[positions[positions >= 0]] = True
    return found.reshape(coupling.out_shape)
