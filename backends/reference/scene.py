"""What an emit rule may look at: the plan's values so far, and the arrays of one step or of one window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax

from ...ir import jaxpr as jx
from ...ir.transition import Association, Group, Region, Transition
from ...ir.values import Value
from ..calls import Arrays, Bindings, Calls
from .coordinates import Space

Values = dict[Value, Any]
"""The plan's values: matrices over real coordinates for traces and what advances them, else plain arrays."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The place in the program where an operation is emitted."""

    calls: Calls
    values: Values
    params: Arrays
    states: Arrays
    """The states that enter the step, or the window."""
    inputs: Arrays
    """The step's inputs; the window's, with a leading time axis, at a window's end."""
    steps: int
    """How many steps: one, or the window's."""
    bindings: Bindings = field(default_factory=dict[Value, jax.Array])
    """What the step computed; nothing at a window's end."""
    result_cotangents: tuple[Arrays, Arrays] | None = None
    """What came back to the window's new states and to its outputs; None in a step."""

    @property
    def transition(self) -> Transition:
        """The transition whose plan is run."""
        return self.calls.transition

    @property
    def hidden(self) -> Arrays:
        """The hidden states among the states."""
        return [self.states[k] for k in self.calls.hidden_places]


def group_space(group: Group) -> Space:
    """The coordinates of a group's states."""
    return Space(tuple(state.before.type for state in group.states))


def output_space(association: Association) -> Space:
    """The coordinates of the output of an association's site."""
    return Space((association.site.output.type,))


def weight_space(association: Association) -> Space:
    """The coordinates of an association's weight."""
    return Space((association.site.weight.value.type,))


def data_space(association: Association) -> Space:
    """The coordinates of the data of an association's site."""
    assert association.site.data is not None
    return Space((association.site.data.type,))


def hidden_space(transition: Transition) -> Space:
    """The coordinates of every hidden state."""
    return Space(tuple(state.before.type for state in transition.hidden))


def step(calls: Calls, region: Region, weights: Arrays, states: Arrays, inputs: Arrays) -> tuple[Arrays, Arrays]:
    """New states and outputs of one step, by a region with the signature of `forward`."""
    own = [weights[k] for k in calls.site_weights]
    results = jx.evaluate(region.body, [*weights, *states, *inputs, *own, *calls.no_shifts()])
    count = len(states)
    return results[:count], results[count : count + len(calls.transition.outputs)]
