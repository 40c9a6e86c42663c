"""A transition in a few lines: its hidden groups, and the weights that are associated with each."""

from __future__ import annotations

from collections.abc import Iterator

from ..ir.transition import Association, Group, State, StateKind, Transition
from .build import through

_NAMED = 12
"""Parameters that are named before they are only counted."""


def summary(transition: Transition) -> str:
    """The hidden groups, their states, and the weights that reach each one through an ETP operation.

    A parameter that no ETP operation uses is in no list: it gets the gradient inside a window, and no trace.
    """
    lines = [_headline(transition)]
    for group in transition.groups:
        lines += ["", *_group_lines(transition, group)]
    lines += _others(transition)
    return "\n".join(lines)


def _headline(transition: Transition) -> str:
    certificate = transition.certificate
    rule = f", {certificate.rule}, window {certificate.window}" if certificate is not None else ""
    return f"{transition.name}: {_count(len(transition.groups), 'hidden group')}{rule}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _group_lines(transition: Transition, group: Group) -> Iterator[str]:
    states = _count(len(group.states), "state")
    yield f"group #{group.index}: {states} of shape [{','.join(map(str, group.shape))}]"
    yield from _table("state", [_state_row(group, state) for state in group.states])
    rows = [_weight_row(transition, a) for a in _of_group(transition, group)]
    yield from _table("weight", rows) if rows else ("  no weight is associated with it",)


def _of_group(transition: Transition, group: Group) -> Iterator[Association]:
    """A weight belongs where it has a path position by position, or, if it has none anywhere, wherever it leads."""
    direct = {id(a.site) for a in transition.associations if any(a.couplings)}
    for association in transition.associations:
        if association.group is group and (any(association.couplings) or id(association.site) not in direct):
            yield association


def _state_row(group: Group, state: State) -> tuple[str, ...]:
    reads = [f"{d.on.path} {d.coupling}" for d in group.jacobian if d.of is state]
    return (state.path, str(state.before.type), f"depends on {', '.join(reads)}" if reads else "")


def _weight_row(transition: Transition, association: Association) -> tuple[str, ...]:
    site, group = association.site, association.group
    reached = [
        f"{state.path} {coupling}"
        for state, coupling in zip(group.states, association.couplings, strict=True)
        if coupling is not None
    ]
    way = f"to {', '.join(reached)}" if reached else through(association.through)
    label = ", ".join(dict.fromkeys(l.label for l in transition.certificate or () if l.path in site.weight.paths))
    return (", ".join(site.weight.paths), f"{site.operation} {site.expression}", label, way)


def _table(head: str, rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    kept = [k for k, width in enumerate(widths) if width]
    for row in rows:
        cells = "  ".join(f"{row[k]:<{widths[k]}}" for k in kept)
        yield f"  {head:<6}  {cells}".rstrip()


def _others(transition: Transition) -> Iterator[str]:
    carried = [state for state in transition.states if state.kind in (StateKind.BUFFER, StateKind.DISCRETE)]
    if carried:
        yield ""
        yield from _table("other", [(s.path, str(s.before.type), s.kind.value) for s in carried])
    associated = {path for association in transition.associations for path in association.site.weight.paths}
    apart = [param.path for param in transition.params if param.path not in associated]
    if apart:
        verb = "is" if len(apart) == 1 else "are"
        yield ""
        names = ", ".join(apart[:_NAMED]) + (f" and {len(apart) - _NAMED} more" if len(apart) > _NAMED else "")
        what = f"{verb} associated with no group, and {verb} learnt without a trace"
        yield f"{_count(len(apart), 'other parameter')} {what}: {names}"
