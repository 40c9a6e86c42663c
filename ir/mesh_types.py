"""What an array's type says of a mesh: along which axes it is sharded (Explicit), and over which it varies (manual)."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import Any

import jax
from jax.sharding import AxisType


def varying(value: Any) -> frozenset[str]:
    """The manual axes of a `shard_map` over which a value varies; none where `check_vma=False` keeps no account."""
    kind = getattr(jax.typeof(value) if isinstance(value, jax.Array) else value, "manual_axis_type", None)
    return frozenset() if kind is None else kind.varying


def explicit_mesh(value: Any) -> Any | None:
    """The mesh with Explicit axes that an array's type names; None where it names none."""
    sharding = getattr(jax.typeof(value) if isinstance(value, jax.Array) else value, "sharding", None)
    mesh = getattr(sharding, "mesh", None)
    return mesh if mesh is not None and AxisType.Explicit in mesh.axis_types else None


def explicit_names(mesh: Any) -> tuple[str, ...]:
    """The Explicit axes of a mesh."""
    kinds = zip(mesh.axis_names, mesh.axis_types, strict=True)
    return tuple(name for name, kind in kinds if kind is AxisType.Explicit)


def automatic(mesh: Any) -> Any:
    """A mesh whose Explicit axes are Auto."""
    return mesh.update_axis_types(dict.fromkeys(explicit_names(mesh), AxisType.Auto))


@contextlib.contextmanager
def without_explicit_axes() -> Generator[None]:
    """Trace as if the mesh that JAX is told to use had Auto axes alone: a program for any mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    if not explicit_names(mesh):
        yield
        return
    with jax.sharding.use_abstract_mesh(automatic(mesh)):
        yield


def says_more(aval: Any) -> bool:
    """Whether a type says more of a mesh than that an array is there."""
    return bool(varying(aval)) or explicit_mesh(aval) is not None


def struct_of(aval: Any) -> jax.ShapeDtypeStruct:
    """A stand-in of an array for tracing: of its shape and element type, and of what its type says of a mesh."""
    if not says_more(aval):
        return jax.ShapeDtypeStruct(aval.shape, aval.dtype)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, sharding=aval.sharding, manual_axis_type=aval.manual_axis_type)


def said_of(found: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """What `jax.eval_shape` found out of a mesh, as arguments of a type's `update`."""
    said: dict[str, Any] = {"sharding": found.sharding, "manual_axis_type": found.manual_axis_type}
    return {name: value for name, value in said.items() if value is not None}
