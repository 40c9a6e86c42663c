"""group-states: hidden states that depend on each other position by position."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..ir import jaxpr as jx
from ..ir.dataflow import Dataflow
from ..ir.regions import OPEN
from ..ir.transition import Group, Transition
from .analyses.dataflow import analyse_dataflow
from .analyses.variables import state_variables
from .base import Pass


@dataclass(frozen=True)
class GroupStates(Pass):
    """Join hidden states of one shape whose new values depend, position by position, on each other's old values.

    Before: `state %v`, `state %a` with `v' = 0.9 v - a`.  After: `group #0 [%v, %a] shape [8]`.
    """

    name: ClassVar[str] = "group-states"

    def run(self, transition: Transition) -> Transition:
        """The transition with its groups, in the order of their first states."""
        if transition.groups:
            return transition
        return replace(transition, groups=grouped(transition, analyse_dataflow(transition)))


def grouped(transition: Transition, flow: Dataflow, first: int = 0) -> tuple[Group, ...]:
    """The groups of the hidden states in the scope of a data-flow, numbered from `first`, without their Jacobians.

    Where mixing operations are not held, states of one shape that depend on each other in any way are one group.
    """
    import networkx as nx  # a third of a second, and only where a model is analysed

    variables, hidden = state_variables(transition), transition.hidden
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(hidden)))
    place = {variables[state][0]: k for k, state in enumerate(hidden)}
    for k, state in enumerate(hidden):
        graph.add_edges_from((k, place[source]) for source in _joined(flow, variables[state][1], place))
    parts = sorted(sorted(part) for part in nx.connected_components(graph))
    return tuple(
        Group(
            index=first + index,
            states=tuple(hidden[k] for k in part),
            shape=hidden[part[0]].before.type.shape,
            region=flow.scope,
        )
        for index, part in enumerate(parts)
    )


def _joined(flow: Dataflow, after: Any, place: dict[Any, int]) -> list[Any]:
    """The old values of states that a new one is grouped with: of its shape, and real where it is real."""
    kind = jx.type_of(after)
    return [
        source
        for source, coupling in flow.of(after).items()
        if source in place
        and (jx.shape_of(source), jx.type_of(source).is_complex) == (kind.shape, kind.is_complex)
        and (flow.scope == OPEN or coupling.has_diagonal)
    ]
