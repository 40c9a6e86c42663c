"""classify-coupling: how groups depend on themselves and on their sites, position by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..coupling import Coupling
from ..coupling.limits import SPREAD
from ..ir.dataflow import OPEN, Dataflow
from ..ir.transition import Association, Dependence, Group, State, Transition
from .analyses.dataflow import analyse_dataflow
from .analyses.variables import Variables, site_variable, state_variables
from .base import Pass


@dataclass(frozen=True)
class ClassifyCoupling(Pass):
    """Write down each group's Jacobian structure and each association's map, and say which associations have a trace.

    Before: `associate %W at %y`.  After: `associate %W at %y : [=]`, and `jacobian %h : [=]`.
    """

    name: ClassVar[str] = "classify-coupling"

    def run(self, transition: Transition) -> Transition:
        """The transition with couplings."""
        if any(group.jacobian for group in transition.groups) or any(a.traced for a in transition.associations):
            return transition
        flow = analyse_dataflow(transition)
        groups, associations = classified(transition, flow, transition.groups, transition.associations)
        if (groups, associations) == (transition.groups, transition.associations):
            return transition
        return replace(transition, groups=groups, associations=associations)


def classified(
    transition: Transition, flow: Dataflow, groups: Sequence[Group], associations: Sequence[Association]
) -> tuple[tuple[Group, ...], tuple[Association, ...]]:
    """Groups and associations with the couplings that a data-flow says, and whether they have a trace."""
    variables = state_variables(transition)
    old = {variables[state][0]: (k, state) for k, state in enumerate(transition.hidden)}
    new = {group: _with_jacobian(flow, group, variables, old) for group in groups}
    found = [_with_couplings(transition, flow, a, new, variables) for a in associations]
    return tuple(new.values()), tuple(_with_indirect(transition, tuple(new.values()), found))


def _with_jacobian(flow: Dataflow, group: Group, variables: Variables, old: Mapping[Any, tuple[int, State]]) -> Group:
    """The group with what its states depend on; `old` has the states and their places by old variables."""
    found: list[Dependence] = []
    for of in group.states:
        reached = flow.of(variables[of][1])
        on = sorted((old[source] for source in reached if source in old), key=lambda placed: placed[0])
        found += [Dependence(of=of, on=state, coupling=reached[variables[state][0]]) for _, state in on]
    own = tuple(sorted((d for d in found if d.on in group.states), key=lambda d: group.states.index(d.on)))
    jacobian = tuple(d for state in group.states for d in own if d.of is state)
    inflow = tuple(d for d in found if d.on not in group.states)
    return replace(group, jacobian=jacobian, inflow=inflow) if found else group


def _with_couplings(
    transition: Transition,
    flow: Dataflow,
    association: Association,
    groups: dict[Group, Group],
    variables: Variables,
) -> Association:
    output = site_variable(transition, association.site)
    couplings = tuple(flow.of(variables[state][1]).get(output) for state in association.group.states)
    found = replace(association, group=groups[association.group], couplings=couplings)
    union = found.union
    found = replace(found, traced=union is not None and (flow.scope == OPEN or is_placed(union)))
    kept = (association.group, association.couplings, association.traced)
    return association if (found.group, found.couplings, found.traced) == kept else found


def _with_indirect(
    transition: Transition, groups: Sequence[Group], associations: Sequence[Association]
) -> list[Association]:
    """The associations, and those of sites whose outputs come to a group by way of another group's states."""
    known = {(a.site, a.group): a for a in associations}
    home = {state: group for group in groups for state in group.states}
    onward: dict[Group, list[Group]] = {}
    for group in groups:
        for d in group.inflow:
            onward.setdefault(home[d.on], []).append(group)
    reached = {pair for pair, a in known.items() if a.traced}
    pending = list(reached)
    while pending:
        site, source = pending.pop()
        for pair in [(site, to) for to in onward.get(source, ())]:
            if pair not in reached:
                reached.add(pair)
                pending.append(pair)
    indirect = {
        pair: Association(
            site=pair[0], group=pair[1], couplings=(None,) * len(pair[1].states), traced=False, loc=pair[0].loc
        )
        for pair in reached
        if pair not in known
    }
    place = {node: k for nodes in (groups, transition.sites) for k, node in enumerate(nodes)}
    return sorted((known | indirect).values(), key=lambda a: (place[a.group], place[a.site]))


def is_placed(union: Coupling) -> bool:
    """Whether a positional trace can be laid out at what a site's output feeds: few positions, and their repetitions.

    However often an output is repeated, a trace is no larger than the states times the weight's other axes, since each
    state position is fed by few of its positions.
    """
    return bool(union.spread <= SPREAD)
