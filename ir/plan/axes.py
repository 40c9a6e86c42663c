"""Along which mesh axes traces, weights and data lie where hidden states lie along some: by the labels of their axes.

A trace lies as the state positions that it is followed to, and whole along what its site sums over. So what advances a
trace, the Jacobian, the sensitivity and the data, is where the trace is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from ..values import Value
from .contract import Contract, Product, Project
from .placement import Placement

if TYPE_CHECKING:
    from ..transition import Association, Group, Site, Transition

Axes: TypeAlias = tuple[str | None, ...]
"""For each axis of an array the mesh axis that it is cut along, or None."""


def batch_size(transition: Transition) -> int | None:
    """The size of the leading axis of groups whose sites have it in common with no weight; None where none has."""
    for association in transition.associations:
        if association.union is not None and _has_batch(association):
            return association.group.shape[0]
    return None


def samples(transition: Transition) -> int | None:
    """The size of the leading axis that is samples, whatever is split or joined along the others; None for none."""
    for association in transition.associations:
        if association.union is not None and _has_samples(association):
            return association.group.shape[0]
    return batch_size(transition)


def _has_samples(association: Association) -> bool:
    """Whether the leading axis of the site's output, which the weight has not, is that of the group's states."""
    place = Placement(association)
    first = association.site.expression.output[:1]
    if not first or place.targets is None or first in place.weight:
        return False
    return any(f.in_axes == f.out_axes == (0,) and f.table is None for f in place.targets.factors)


def _has_batch(association: Association) -> bool:
    place = Placement(association)
    output = association.site.expression.output
    return bool(output) and place.is_identity and output[0] in place.batch


def of_traces(transition: Transition, states: Mapping[Group, Axes]) -> dict[Value, Axes]:
    """The axes of the traces that positional operations read, from those of each group's states."""
    assert transition.plan is not None
    found: dict[Value, Axes] = {}
    data = of_data(transition, states)
    for operation in transition.plan.operations:
        if isinstance(operation, (Contract, Project)):
            place = operation.placement if isinstance(operation, Contract) else Placement(operation.association)
            axes = of_labels(operation.association, states, place)
            reads = operation.trace if isinstance(operation, Contract) else operation.factors
            labels = place.trace if isinstance(operation, Contract) else place.output
            found |= {value: _along(labels, axes) for value in reads if value is not None}
        elif isinstance(operation, Product) and operation.data is not None and operation.site.data in data:
            pairs = zip(operation.site.data_labels or "", data[operation.site.data], strict=True)
            known = {label: axis for label, axis in pairs if axis is not None}
            found[operation.data] = _along(operation.data_labels, known)
    return found


def of_data(transition: Transition, states: Mapping[Group, Axes]) -> dict[Value, Axes]:
    """The axes of the data of sites with a trace: those of the output's positions, and whole along what is summed."""
    found: dict[Value, Axes] = {}
    for association in transition.associations:
        site = association.site
        if site.data is not None and association.union is not None:
            own = of_labels(association, states)
            found.setdefault(site.data, _along(site.data_labels or "", own))
    return found


def of_labels(association: Association, states: Mapping[Group, Axes], place: Placement | None = None) -> dict[str, str]:
    """The mesh axes of a site's labels: those of the state positions that its output's positions are followed to."""
    place = place or Placement(association)
    axes = _of_group(association.group, states)
    output = association.site.expression.output
    if place.is_identity:
        pairs = zip(output, axes, strict=True)
    else:
        same = bool(output) and place.sizes[output[0]] == association.group.shape[0]
        pairs = zip(output[:1], axes[:1], strict=True) if same else ()
    return {label: axis for label, axis in pairs if axis is not None}


def _of_group(group: Group, states: Mapping[Group, Axes]) -> Axes:
    """The axes of a group's positions; of one that a plan made of several, those of the part with its first state."""
    if group in states:
        return states[group]
    return next(axes for part, axes in states.items() if group.states[0] in part.states)


def of_weights(transition: Transition, states: Mapping[Group, Axes]) -> Iterator[tuple[Site, Axes]]:
    """The axes of each site's weight: those of its output's positions, or else of the states that are its data."""
    by_shape = {group.shape: states[group] for group in transition.groups}
    for site in transition.sites:
        own = [a for a in transition.associations if a.site is site and a.union is not None]
        if own:
            axes = of_labels(own[0], states)
        elif site.data is not None and site.data.type.shape in by_shape:
            pairs = zip(site.data_labels or "", by_shape[site.data.type.shape], strict=True)
            axes = {label: axis for label, axis in pairs if axis is not None}
        else:
            continue
        yield site, _along(site.weight_labels, axes)


def _along(labels: Sequence[str], axes: Mapping[str, str]) -> Axes:
    return tuple(axes.get(label) for label in labels)
