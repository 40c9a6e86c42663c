"""Rules about hidden groups, and the associations of weights with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..coupling import Coupling
from ..diagnostics import Diagnostic
from ..transition import Association, Group, State, StateKind, Transition
from .sheet import Sheet

Shape = tuple[int, ...]


def groups_hold_hidden_states(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Groups are numbered, not empty, and divide the hidden states among them."""
    for index, count in Counter(group.index for group in t.groups).items():
        if count > 1:
            yield sheet.finding("ir-group", f"{count} groups have number #{index}; wanted one")
    home: dict[State, Group] = {}
    for group in t.groups:
        line = f"group #{group.index}"
        if not group.states:
            yield sheet.finding("ir-group", f"group #{group.index} has no state", line=line, loc=group.loc)
        for state in group.states:
            fault = _membership_fault(t, state, group, home.setdefault(state, group))
            if fault is not None:
                yield sheet.finding("ir-group", fault, line=line, mark=sheet.name(state.before), loc=group.loc)
    for state in t.hidden if t.groups else ():
        if state not in home:
            message = f"hidden state '{state.path}' is in no group"
            yield sheet.finding("ir-group", message, line=sheet.state_line(state), mark="hidden", loc=state.loc)


def _membership_fault(t: Transition, state: State, group: Group, home: Group) -> str | None:
    if state not in t.states:
        return f"group #{group.index} has '{state.path}', which is no state of this transition"
    if state.kind is not StateKind.HIDDEN:
        return f"group #{group.index} has '{state.path}', which is {state.kind.value}; wanted hidden states"
    if home is not group:
        return f"state '{state.path}' is in group #{home.index} and in group #{group.index}"
    return None


def groups_have_one_shape(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """The states of a group share one position shape."""
    for group in t.groups:
        for state in group.states:
            if state.before.type.shape != group.shape:
                mark = f"shape {_shape(group.shape)}"
                message = f"group #{group.index} has {mark}, but its state '{state.path}' is {state.before.type}"
                yield sheet.finding("group-shape", message, line=f"group #{group.index}", mark=mark, loc=group.loc)


def jacobians_stay_in_their_group(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A group's Jacobian has at most one coupling for each pair of its states, between the shapes of the two."""
    for group in t.groups:
        pairs: set[tuple[State, State]] = set()
        for item in group.jacobian:
            names = f"{sheet.name(item.of.before)} <- {sheet.name(item.on.before)}"
            line = f"jacobian {names}"
            for state in (item.of, item.on):
                if state not in group.states:
                    message = (
                        f"the Jacobian of group #{group.index} speaks of '{state.path}', which is not in the group"
                    )
                    yield sheet.finding("ir-group", message, line=line, mark=sheet.name(state.before), loc=group.loc)
            if (item.of, item.on) in pairs:
                message = f"the Jacobian of group #{group.index} has {names} twice"
                yield sheet.finding("ir-group", message, line=line, mark=names, loc=group.loc)
            pairs.add((item.of, item.on))
            fault = _coupling_fault(item.coupling, item.on.before.type.shape, item.of.after.type.shape)
            if fault is not None:
                yield sheet.finding(
                    "coupling-shape", f"{names}: {fault}", line=line, mark=str(item.coupling), loc=group.loc
                )


def _coupling_fault(coupling: Coupling, in_shape: Shape, out_shape: Shape) -> str | None:
    found, wanted = (tuple(coupling.in_shape), tuple(coupling.out_shape)), (in_shape, out_shape)
    if found == wanted:
        return None
    ends = [f"{_shape(start)} to {_shape(end)}" for start, end in (found, wanted)]
    return f"the coupling leads from {ends[0]}; wanted {ends[1]}"


def _shape(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"


def associations_name_their_ends(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An association is the only one between a site and a group, both of this transition."""
    pairs = Counter((association.site, association.group) for association in t.associations)
    for (site, group), count in pairs.items():
        name = sheet.name(site.output)
        line, loc = sheet.association_line(next(a for a in t.associations if a.site is site)), site.loc
        if count > 1:
            message = f"{count} associations of site {name} with group #{group.index}; wanted one"
            yield sheet.finding("ir-association", message, line=line, mark=name, loc=loc)
        if site not in t.sites:
            message = f"an association is at {name}, which is no site of this transition"
            yield sheet.finding("ir-association", message, line=line, mark=name, loc=loc)
        if group not in t.groups:
            message = f"site {name} is associated with group #{group.index}, which is not in this transition"
            yield sheet.finding("ir-association", message, line=line, mark=name, loc=loc)


def associations_fit_their_group(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An association has an entry for each state of its group; a traced one reaches at least one of them."""
    for association in t.associations:
        fault = _association_fault(association)
        if fault is not None:
            name = sheet.name(association.site.output)
            line = sheet.association_line(association)
            message = f"association of {name} with group #{association.group.index}: {fault[1]}"
            yield sheet.finding(fault[0], message, line=line, mark=name, loc=association.loc)


def _association_fault(association: Association) -> tuple[str, str] | None:
    states, couplings = association.group.states, association.couplings
    if len(states) != len(couplings):
        return "ir-association", f"{len(couplings)} couplings for {len(states)} states"
    if association.traced and all(coupling is None for coupling in couplings):
        return "ir-association", "traced, but it reaches no state"
    for state, coupling in zip(states, couplings, strict=True):
        shapes = association.site.output.type.shape, state.after.type.shape
        fault = _coupling_fault(coupling, *shapes) if coupling is not None else None
        if fault is not None:
            return "coupling-shape", f"to '{state.path}', {fault}"
    return None
