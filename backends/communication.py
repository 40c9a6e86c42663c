"""What a learner that lies over a mesh exchanges between devices: its model's activations, and its gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..ir.plan import Cost
from ..ir.plan.axes import of_weights
from ..ir.transition import Site, Transition
from .layout import Layout, devices_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Bytes that collectives leave on each device. Advancing and reading a trace are not among them."""

    forward: float
    """In a step of the model."""
    reverse: float
    """In a step of reverse mode."""
    update: float
    """Where gradients are added up over the batch: at the end of a window by `train`, of a fold by `grad`."""


def exchange(transition: Transition, layout: Layout) -> Exchange:
    """What a planned transition exchanges.

    A weight that is cut along what its site sums over, as a readout of cut states is, leaves a sum to be made. One that
    is cut along its output's positions wants data that are cut, as its own layer's states are, whole: they are
    gathered, and their cotangents added up.
    """
    forward = reverse = update = 0.0
    for site, axes in of_weights(transition, layout.groups):
        cut = {label for label, axis in zip(site.weight_labels, axes, strict=True) if axis == layout.weights}
        if _devices(layout, layout.weights) == 1 or not cut:
            continue
        if cut <= set(site.expression.output):
            gathered = _gathered(transition, site, layout)
            forward, reverse = forward + gathered, reverse + gathered
        else:
            forward += site.output.type.bytes / _devices(layout, layout.batch)
    if _devices(layout, layout.batch) > 1:
        pairs = zip(transition.params, layout.params, strict=True)
        update = sum(param.value.type.bytes / devices_of(layout, axes) for param, axes in pairs)
    return Exchange(forward=forward, reverse=reverse, update=update)


def _gathered(transition: Transition, site: Site, layout: Layout) -> float:
    """Bytes of a site's data on a device, where they are states that are cut and that it sums over."""
    data, output = site.data, site.expression.output
    states = {state.before: group for group in layout.groups for state in group.states}
    if data is None or data not in states:
        return 0.0
    pairs = zip(site.data_labels or "", layout.groups[states[data]], strict=True)
    summed = any(axis == layout.weights and label not in output for label, axis in pairs)
    return data.type.bytes / _devices(layout, layout.batch) if summed else 0.0


def _devices(layout: Layout, axis: str | None) -> int:
    return 1 if axis is None else layout.mesh.shape[axis]


def on_a_device(transition: Transition, layout: Layout) -> Cost:
    """The cost of one step on one device of the mesh, what it exchanges included; an update at every window's end."""
    assert transition.plan is not None
    plan, whole = transition.plan, transition.plan.cost()
    pairs = zip(plan.traces, layout.traces, strict=False)
    held = sum(trace.before.type.bytes / devices_of(layout, axes) for trace, axes in pairs)
    part = held / whole.held if whole.held else 1.0
    found = exchange(transition, layout)
    return replace(
        Cost(flops=whole.flops * part, read=whole.read * part, written=whole.written * part, held=held),
        exchanged=found.forward + found.reverse + found.update / plan.window,
    )
