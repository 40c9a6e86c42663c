"""Rules about hidden groups, and the associations of weights with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...coupling import Coupling
from ..dataflow import HIDDEN
from ..diagnostics import Diagnostic
from ..transition import Association, Dependence, Group, Site, State, StateKind, Transition
from .sheet import Sheet

Shape = tuple[int, ...]


def groups_hold_hidden_states(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """Groups are numbered, not empty, and divide the hidden states among them."""
    for index, count in Counter(group.index for group in t.every_group).items():
        if count > 1:
            yield sheet.finding("ir-group", f"{count} groups have number #{index}; wanted one")
    home: dict[tuple[State, str], Group] = {}
    known = set(t.states)
    for group in t.every_group:
        line = f"group #{group.index}"
        if not group.states:
            yield sheet.finding("ir-group", f"group #{group.index} has no state", line=line, loc=group.loc)
        for state in group.states:
            fault = _membership_fault(state in known, state, group, home.setdefault((state, group.region), group))
            if fault is not None:
                yield sheet.finding("ir-group", fault, line=line, mark=sheet.name(state.before), loc=group.loc)
    for state in t.hidden if t.groups else ():
        if (state, HIDDEN) not in home:
            message = f"hidden state '{state.path}' is in no group"
            yield sheet.finding("ir-group", message, line=sheet.state_line(state), mark="hidden", loc=state.loc)


def _membership_fault(known: bool, state: State, group: Group, home: Group) -> str | None:
    if not known:
        return f"group #{group.index} has '{state.path}', which is no state of this transition"
    if state.kind is not StateKind.HIDDEN:
        return f"group #{group.index} has '{state.path}', which is {state.kind.value}; wanted hidden states"
    if home is not group:
        return f"state '{state.path}' is in group #{home.index} and in group #{group.index}"
    return None


def groups_have_one_shape(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """The states of a group share one position shape."""
    for group in t.every_group:
        for state in group.states:
            if state.before.type.shape != group.shape:
                mark = f"shape {_shape(group.shape)}"
                message = f"group #{group.index} has {mark}, but its state '{state.path}' is {state.before.type}"
                yield sheet.finding("group-shape", message, line=f"group #{group.index}", mark=mark, loc=group.loc)


def jacobians_stay_in_their_group(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """A group's Jacobian has at most one coupling for each pair of its states, between the shapes of the two.

    So has its inflow for each pair of one of its states and one of another group.
    """
    for group in t.every_group:
        seen: set[tuple[State, State]] = set()
        for word, item in [*(("jacobian", d) for d in group.jacobian), *(("inflow", d) for d in group.inflow)]:
            fault = _dependence_fault(word, item, group, seen, set(t.hidden))
            seen.add((item.of, item.on))
            if fault is not None:
                code, mark, message = fault
                line = f"{word} {sheet.name(item.of.before)} <- {sheet.name(item.on.before)}"
                yield sheet.finding(code, message, line=line, mark=mark, loc=group.loc)


def _dependence_fault(
    word: str, item: Dependence, group: Group, seen: set[tuple[State, State]], hidden: set[State]
) -> tuple[str, str, str] | None:
    """The code, the marked text and the message of what is wrong with one entry of a Jacobian, or of an inflow."""
    subject = f"the {'Jacobian' if word == 'jacobian' else word} of group #{group.index}"
    outside = word == "inflow"
    if item.of not in group.states or (item.on not in group.states and not outside):
        stray = item.on if item.of in group.states else item.of
        return "ir-group", word, f"{subject} speaks of '{stray.path}', which is not in the group"
    if outside and (item.on in group.states or item.on not in hidden):
        where = "in the group itself" if item.on in group.states else "no hidden state"
        return "ir-group", word, f"{subject} comes from '{item.on.path}', which is {where}"
    pair = f"'{item.of.path}' on '{item.on.path}'"
    if (item.of, item.on) in seen:
        return "ir-group", word, f"{subject} has {pair} twice"
    fault = _coupling_fault(item.coupling, item.on.before.type.shape, item.of.after.type.shape)
    return ("coupling-shape", str(item.coupling), f"{subject}, {pair}: {fault}") if fault else None


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
    sites, groups = set(t.sites), set(t.every_group)
    seen: set[tuple[Site, Group]] = set()
    for association in t.every_association:
        site, group = association.site, association.group
        fault = None
        if site not in sites:
            fault = "no site of this transition has this output"
        elif group not in groups:
            fault = "this transition has no such group"
        elif (site, group) in seen:
            fault = "there is one already"
        seen.add((site, group))
        if fault is not None:
            yield _about(association, "ir-association", fault, sheet)


def associations_fit_their_group(t: Transition, sheet: Sheet) -> Iterator[Diagnostic]:
    """An association has an entry for each state of its group; a traced one reaches at least one of them."""
    for association in t.every_association:
        fault = _association_fault(association)
        if fault is not None:
            yield _about(association, *fault, sheet)


def _about(association: Association, code: str, fault: str, sheet: Sheet) -> Diagnostic:
    """A finding about an association's line."""
    name, line = sheet.name(association.site.output), sheet.association_line(association)
    message = f"association of {name} with group #{association.group.index}: {fault}"
    return sheet.finding(code, message, line=line, mark=name, loc=association.loc)


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
