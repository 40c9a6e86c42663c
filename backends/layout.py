"""Where the arrays of a learner lie on a mesh of devices: states, traces and parameters, by JAX's own sharding."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..ir.diagnostics import did_you_mean, error
from ..ir.mesh_types import explicit_names
from ..ir.plan import Placement
from ..ir.plan.axes import Axes, of_data, of_traces, of_weights, samples
from ..ir.transition import Group, Transition
from ..ir.values import Value

Role: TypeAlias = str
"""What an argument is: `params`, `carry`, `states`, `optimizer`, `now` (arrays of a step) or `time` (of a sequence)."""

Roles: TypeAlias = tuple[Role, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """Mesh axes of every array of one learner."""

    mesh: Mesh
    batch: str | None
    """The mesh axis that the batch is cut along."""
    weights: str | None
    """The mesh axis that weights, and the states that they feed, are cut along."""
    size: int | None
    """Entries of the batch."""
    params: tuple[Axes, ...]
    states: tuple[Axes, ...]
    traces: tuple[Axes, ...]
    """Of every leaf of a carry's traces."""
    shapes: tuple[tuple[int, ...], ...]
    """The shapes of the parameters."""
    groups: Mapping[Group, Axes]
    """Of the positions of every group."""

    def shardings(self, role: Role, tree: Any) -> Any:
        """A tree of shardings for an argument; replicated where nothing is known of it."""
        leaves, structure = jax.tree.flatten(tree)
        axes = self._axes(role, leaves)
        found = [self.sharding(own if len(own) == np.ndim(x) else ()) for own, x in zip(axes, leaves, strict=True)]
        return jax.tree.unflatten(structure, found)

    def sharding(self, axes: Axes) -> NamedSharding:
        """The sharding along these mesh axes."""
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def put(self, role: Role, tree: Any) -> Any:
        """The arrays of an argument where they belong; over several processes, each of which has them whole."""
        given = jax.tree.map(self._from_host, tree)
        return jax.device_put(given, self.shardings(role, given))

    def _from_host(self, x: Any) -> Any:
        """An array that this process alone has, as the host's: JAX sends none from process to process to place it."""
        own = isinstance(x, jax.Array) and not isinstance(x, Tracer) and x.is_fully_addressable
        if not own or len({device.process_index for device in self.mesh.devices.flat}) == 1:
            return x
        return np.asarray(x)

    def keep(self, shardings: Any, results: Any) -> Any:
        """Results with those shardings that are given of them; None for what XLA chooses."""
        if explicit_names(self.mesh) or shardings is None:
            return results
        if jax.tree.structure(shardings) == jax.tree.structure(results):
            return jax.tree.map(jax.lax.with_sharding_constraint, results, shardings)
        parts = [self.keep(own, part) for own, part in zip_longest(shardings, results)]
        return type(results)(*parts) if hasattr(results, "_fields") else tuple(parts)

    def _axes(self, role: Role, leaves: Sequence[Any]) -> Sequence[Axes]:
        carry = (*self.states, *self.traces)
        whole = (*carry, *self.states)
        known = {"params": (self.params,), "states": (self.states,), "carry": (carry, whole)}
        if role == "carry" and len(leaves) > len(whole):  # inside a window: the states that it began with, its steps
            begun = (*whole, *self.states)
            return *begun, *self._axes("time", leaves[len(begun) :])
        if role in known:
            return next((axes for axes in known[role] if len(axes) == len(leaves)), [()] * len(leaves))
        if role == "optimizer":
            by_shape = dict(zip(self.shapes, self.params, strict=True))
            return [by_shape.get(np.shape(x), ()) for x in leaves]
        return [self._in_batch(np.shape(x), int(role == "time")) for x in leaves]

    def _in_batch(self, shape: tuple[int, ...], place: int) -> Axes:
        """Axes of an array whose axis at `place` is the batch, if it is as long."""
        if self.size is None or len(shape) <= place or shape[place] != self.size:
            return ()
        return tuple(self.batch if k == place else None for k, _ in enumerate(shape))


def layout(
    transition: Transition, traces: Any, data: Sequence[Value], mesh: Mesh, batch: str | None, weights: str | None
) -> Layout:
    """The layout of a planned transition whose carry's traces are `traces`, the last of them those of `data`.

    The batch is the leading axis of hidden states, where sites have it and weights do not. Raises EtirError for axes
    that the mesh does not have, and for a batch that does not divide.
    """
    _check_axes(mesh, batch, weights)
    size = samples(transition)
    if batch is not None and size is not None and size % mesh.shape[batch]:
        message = f"a batch of {size} does not divide over the {mesh.shape[batch]} devices of mesh axis '{batch}'"
        raise error("mesh-batch", message, help="compile for a multiple of it, or pass batch=None")
    across = {g for g in transition.groups if _follows_positions(transition, g)}
    groups = {
        group: _positions(group.shape, mesh, batch, weights if group in across else None, size)
        for group in transition.groups
    }
    states = tuple(_of_state(transition, k, groups, batch, size) for k, _ in enumerate(transition.states))
    return Layout(
        mesh=mesh,
        batch=batch,
        weights=weights,
        size=size,
        params=_params(transition, groups, mesh, batch, weights),
        states=states,
        traces=trace_axes(transition, traces, data, groups, dict(mesh.shape)),
        shapes=tuple(param.value.type.shape for param in transition.params),
        groups=groups,
    )


def _check_axes(mesh: Mesh, batch: str | None, weights: str | None) -> None:
    for option, axis in (("batch", batch), ("weights", weights)):
        if axis is not None and axis not in mesh.axis_names:
            raise error(
                "mesh-axis",
                f"{option}='{axis}', and the mesh has the axes {', '.join(map(repr, mesh.axis_names))}",
                help=did_you_mean(axis, list(mesh.axis_names)) or f"pass {option}=None for none",
            )


def _follows_positions(transition: Transition, group: Group) -> bool:
    """Whether the traces of a group's weights can be cut as its states: a fused product's span several positions."""
    own = (a for a in transition.associations if a.group is group and a.union is not None)
    return all(Placement(association).is_identity for association in own)


def _positions(shape: tuple[int, ...], mesh: Mesh, batch: str | None, weights: str | None, size: int | None) -> Axes:
    """The axes of a group's positions: the batch, and the first other axis that divides for the weights."""
    first = int(size is not None and bool(shape) and shape[0] == size)
    found: list[str | None] = [batch] * first + [None] * (len(shape) - first)
    places = [k for k in range(first, len(shape)) if weights is not None and _divides(shape[k], mesh.shape[weights])]
    if places:
        found[places[0]] = weights
    return tuple(found)


def _divides(size: int, devices: int) -> bool:
    return size > 0 and size % devices == 0


def _of_state(
    transition: Transition, place: int, groups: dict[Group, Axes], batch: str | None, size: int | None
) -> Axes:
    state = transition.states[place]
    for group, axes in groups.items():
        if state in group.states:
            return axes
    shape = state.before.type.shape
    return (batch, *[None] * (len(shape) - 1)) if shape and shape[0] == size else ()


def _params(
    transition: Transition, groups: dict[Group, Axes], mesh: Mesh, batch: str | None, weights: str | None
) -> tuple[Axes, ...]:
    """The axes of every parameter: those of a weight made of it of its shape, or else of its largest axis."""
    known: dict[int, Axes] = {}
    for site, axes in of_weights(transition, groups):
        own = tuple(None if axis == batch else axis for axis in axes)
        for k, param in enumerate(transition.params):
            shape, whole = param.value.type.shape, site.weight.value.type.shape
            if param in site.weight.params and shape == whole[len(whole) - len(shape) :]:
                known.setdefault(k, own[len(whole) - len(shape) :])
    return tuple(
        known[k] if k in known else _largest(param.value.type.shape, mesh, weights)
        for k, param in enumerate(transition.params)
    )


def _largest(shape: tuple[int, ...], mesh: Mesh, weights: str | None) -> Axes:
    """The largest axis that divides, along the weights' mesh axis."""
    places = [k for k, size in enumerate(shape) if weights is not None and _divides(size, mesh.shape[weights])]
    chosen = max(places, key=lambda k: shape[k], default=None)
    return tuple(weights if k == chosen else None for k, _ in enumerate(shape))


def trace_axes(
    transition: Transition, traces: Any, data: Sequence[Value], groups: dict[Group, Axes], sizes: dict[str, int]
) -> tuple[Axes, ...]:
    """The axes of every leaf of a carry's traces: as the states that they are followed to lie.

    The last leaves are `data` of sites. What no positional operation reads, and what the last step left pending, lies
    along the axes of states that are as long, in order.
    """
    assert transition.plan is not None
    found, leaves = of_traces(transition, groups), jax.tree.leaves(traces)
    plan, of_sites = transition.plan, of_data(transition, groups)
    known: list[Axes | None] = [
        found.get(trace.before) for trace, x in zip(plan.traces, traces, strict=False) if jax.tree.leaves(x)
    ]
    carried = len(known)
    if len(leaves) > len(known):
        known += [None] * (len(leaves) - len(known) - len(data)) + [of_sites.get(value) for value in data]
    by_size = [(size, axis) for group, axes in groups.items() for size, axis in zip(group.shape, axes, strict=True)]
    result: list[Axes] = []
    for k, leaf in enumerate(leaves):
        limit = 1 if k < carried or k >= len(leaves) - len(data) else len(leaf.shape)
        axes = known[k] or _as_long(leaf.shape, by_size, limit)
        result.append(tuple(a if a and _divides(n, sizes[a]) else None for n, a in zip(leaf.shape, axes, strict=True)))
    return tuple(result)


def _as_long(shape: tuple[int, ...], by_size: Sequence[tuple[int, str | None]], limit: int) -> Axes:
    """For each axis, up to `limit`, the mesh axis of state positions that are as long; none twice."""
    used: list[str | None] = []
    for place, size in enumerate(shape):
        fits = (axis for of, axis in by_size if of == size and axis is not None and axis not in used)
        used.append(next(fits, None) if place < limit else None)
    return tuple(used)


def devices_of(layout: Layout, axes: Axes) -> int:
    """Over how many devices an array of these axes is cut."""
    return math.prod(layout.mesh.shape[axis] for axis in axes if axis is not None)
