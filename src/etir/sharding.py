"""A learner over many devices."""

from __future__ import annotations

from jax.sharding import Mesh

from .backends.learner import Learner
from .ir.diagnostics import error


def shard(learner: Learner, mesh: Mesh, *, batch: str | None = None, weights: str | None = None) -> Learner:
    """The same learner with its arrays cut over the devices of a mesh.

    The batch, the leading axis of states, inputs and targets, is cut along the mesh axis `batch`; weights and the
    states that they feed along `weights`. A trace lies as both: `[batch, data, states]` on `mesh.shape[batch] *
    mesh.shape[weights]` devices, and to advance it takes no communication. What a method is given is put where it
    belongs; what it returns lies there. `learner.cost()` then counts a device's part, and what it sends. Raises
    EtirError for an axis that the mesh does not have, and for a batch that does not divide.
    """
    if not isinstance(mesh, Mesh):
        raise error(
            "mesh-type",
            f"etir.shard was given something of type {type(mesh).__name__} for a mesh; wanted a jax.sharding.Mesh",
            help="make it with jax.make_mesh",
        )
    return learner.shard(mesh, batch, weights)
