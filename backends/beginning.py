"""The traces at the beginning of a sequence, on the devices that the states are on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.sharding import NamedSharding, PartitionSpec

from ..ir.mesh_types import varying
from ..ir.plan.axes import Axes
from ..ir.transition import Group, Transition
from .calls import Arrays
from .engine import Engine
from .folds.lag import Traces
from .layout import Layout, trace_axes


def started(engine: Engine, key: jax.Array | None, states: Arrays, layout: Layout | None) -> Any:
    """The engine's traces before any step, cut as the states are, or as a layout says; each device makes its part."""
    if layout is not None:
        return _made(engine, key, [layout.sharding(axes) for axes in layout.traces])
    if axes := frozenset[str]().union(*map(varying, states)):
        return jax.lax.pcast(engine.start(key), tuple(sorted(axes)), to="varying")
    mesh = _mesh_of(states)
    if mesh is None:
        return engine.started(key)
    kinds = engine.kinds
    groups = _groups(engine.transition, states)
    found = trace_axes(engine.transition, kinds, engine.lag.data, groups, dict(mesh.shape))
    return _made(engine, key, [NamedSharding(mesh, PartitionSpec(*axes)) for axes in found])


def begun_again(engine: Engine, traces: Traces) -> Traces:
    """Traces where another sequence begins: zeros, but for what is of no sequence: what was drawn, or learned."""
    plan = engine.calls.plan
    now = zip(plan.traces, engine.lag.settled(traces), strict=True)
    return engine.lag.begun(tuple(jnp.zeros_like(x) if trace in plan.of_sequence else x for trace, x in now))


def _made(engine: Engine, key: jax.Array | None, shardings: list[NamedSharding]) -> Any:
    """The traces, made where they belong."""
    whole = jax.tree.unflatten(jax.tree.structure(engine.kinds), shardings)
    return jax.jit(engine.start, out_shardings=whole)(key)


def _mesh_of(states: Arrays) -> Any | None:
    """The mesh that states are cut over; None where each is whole on every device."""
    for x in states:
        sharding = _sharding(x)
        if sharding is not None and any(axis is not None for axis in sharding.spec):
            return sharding.mesh
    return None


def _sharding(x: Any) -> NamedSharding | None:
    """What is known of where an array is: its own sharding, or what its type says while JAX traces."""
    found = jax.typeof(x).sharding if isinstance(x, Tracer) else x.sharding
    return found if isinstance(found, NamedSharding) and not found.mesh.empty else None


def _groups(transition: Transition, states: Arrays) -> dict[Group, Axes]:
    """The axes of each group's positions: those of its first state."""
    place = {state: k for k, state in enumerate(transition.states)}
    found: dict[Group, Axes] = {}
    for group in transition.groups:
        x = states[place[group.states[0]]]
        sharding = _sharding(x)
        spec = () if sharding is None else tuple(sharding.spec)
        single = [axis if isinstance(axis, str) else None for axis in spec]
        found[group] = (*single, *[None] * (x.ndim - len(single)))
    return found
