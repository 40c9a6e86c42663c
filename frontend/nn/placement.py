"""States over the devices of a mesh, as they are annotated: `ParamState(w, sharding=(None, "model"))`."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from .. import frame
from ..cell import Cell
from ..filters import states_of
from ..state import State
from . import faults


def shardings(model: Any, mesh: Mesh, *, batch: str | None = None) -> dict[str, Any]:
    """The sharding of each set state's arrays, by path: a tree of `NamedSharding` in the structure of its value.

    An annotation is of the axes as the state was declared, the last ones of the array; the first of those before them,
    that of a batch, is cut along the mesh axis `batch`. What is not annotated is whole on every device. Raises
    EtirError for an axis that the mesh has not, and for an annotation of more axes than there are.
    """
    states = states_of("shardings", model)
    return {path: _sharding(state, frame.read(state), mesh, batch) for path, state in states.items() if state.is_set}


def place(model: Any, mesh: Mesh, *, batch: str | None = None) -> Any:
    """`model`, its states' arrays moved to where `shardings` says."""
    states = states_of("place", model)
    for path, where in shardings(model, mesh, batch=batch).items():
        cell = frame.read(states[path])
        frame.write(states[path], Cell(value=jax.device_put(cell.value, where), tags=cell.tags))
    return model


def _sharding(state: State, cell: Cell, mesh: Mesh, batch: str | None) -> Any:
    leaves, structure = jax.tree.flatten(cell.value)
    ranks = state.ranks if len(state.ranks) == len(leaves) else [leaf.ndim for leaf in leaves]
    specs = [_spec(state, leaf, rank, batch) for leaf, rank in zip(leaves, ranks, strict=True)]
    for spec in specs:
        unknown = [axis for axis in spec if axis is not None and axis not in mesh.axis_names]
        if unknown:
            raise faults.unknown_axis(state, unknown[0], mesh.axis_names)
    return jax.tree.unflatten(structure, [NamedSharding(mesh, PartitionSpec(*spec)) for spec in specs])


def _spec(state: State, leaf: Any, rank: int, batch: str | None) -> list[str | None]:
    own = [None] * rank if state.sharding is None else list(state.sharding)
    lead = leaf.ndim - len(own)
    if lead < 0:
        raise faults.annotated_axes(state, len(own), leaf)
    return [batch if k == 0 else None for k in range(lead)] + own
