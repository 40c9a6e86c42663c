"""What the compiled functions of one learner share: its engine, and the user's trees around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax

from ..ir.step import Signature
from .arguments import Arguments
from .calls import Arrays
from .carry import Carry, Unfinished
from .checked import Checked
from .engine import Engine
from .guards import again, sealed
from .layout import Layout
from .trainable import Trainable


@dataclass(frozen=True, eq=False, kw_only=True)
class Compiled:
    """The engine of one learner, in the trees of its signature."""

    engine: Engine
    arguments: Arguments
    trainable: Trainable
    signature: Signature
    layout: Layout | None
    window: int

    def carry(self, states: Arrays, traces: Any, seal: Any, unfinished: Unfinished | None = None) -> Carry:
        """The carry of these states and traces, that of a call which was given one with this seal."""
        known, seal = jax.lax.stop_gradient((states, seal))
        of_cut = sealed(again(known, seal), seal)
        tree, cut = (jax.tree.unflatten(self.signature.states, x) for x in (states, of_cut))
        return Carry(tree, self.engine.lag.ready(traces, 1), cut, unfinished)

    def _checked(self, *functions: Any, **options: Any) -> Checked:
        return Checked(*functions, **options, layout=self.layout)
