"""Running a learner's methods where arrays' types name mesh axes, of which engines and plans know nothing.

Under Explicit axes the method is run with these axes Auto: what it is given and what it returns have shardings in their
types, and XLA chooses those between. Inside `shard_map(check_vma=True)` it is run where no account is kept of what
varies over devices; what it returns varies, but for what it adds up over them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.sharding import PartitionSpec

from ..ir import jaxpr as jx
from ..ir.diagnostics import error
from ..ir.mesh_types import automatic, explicit_mesh, explicit_names, varying

_LOCAL = ("axis_index", "pcast", "pvary")
"""Operations on mesh axes that move nothing from device to device."""

Total: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]
"""Of a function of parameters and more that returns their gradient first: one whose gradient is that of all devices."""

Like: TypeAlias = Callable[..., Any]
"""Of a method's arguments: a tree, a prefix of its results, of the arguments that these are placed like, or None."""


@dataclass(frozen=True)
class Method:
    """A method that may be run where types name mesh axes. It returns a tuple, or a named one."""

    run: Callable[..., Any]
    """Takes a `Total`, then the arguments, whose first are parameters."""
    like: Like
    totals: int = 0
    """How many results, the first ones, are made of gradients that are added up over devices; 0 for a method that has a
    derivative instead."""

    def __call__(self, *given: Any) -> Any:
        """What it returns of arrays."""
        leaves = jax.tree.leaves(given)
        if axes := frozenset[str]().union(*map(varying, leaves)):
            return _in_shard_map(self, given, axes)
        mesh = next((mesh for x in leaves if (mesh := explicit_mesh(x)) is not None), None) or _context()
        return self.run(_alone, *given) if mesh is None else _under_explicit(self, given, mesh)


def _alone(gradient: Callable[..., Any]) -> Callable[..., Any]:
    """The `Total` of one device, or of a program that is written for all of them."""
    return gradient


def _context() -> Any | None:
    """The mesh that JAX is told to use, where it has Explicit axes."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh if explicit_names(mesh) else None


# Explicit axes


def _under_explicit(method: Method, given: tuple[Any, ...], mesh: Any) -> Any:
    """The method with these axes Auto; its results sharded as the arguments that they are like."""
    leaves, structure = jax.tree.flatten(given)
    kinds = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=jax.typeof(x).weak_type) for x in leaves]

    def flat(*arrays: Any) -> Any:
        return method.run(_alone, *jax.tree.unflatten(structure, arrays))

    with jax.sharding.use_abstract_mesh(automatic(mesh)):
        closed, shapes = jx.trace(flat, *kinds)
    specs = [_spec(source, kind, leaves) for source, kind in _pairs(method.like(*given), shapes)]
    placed = jax.sharding.auto_axes(jx.function(closed), axes=explicit_names(mesh), out_sharding=specs)
    with contextlib.nullcontext() if _context() else jax.sharding.use_abstract_mesh(mesh):
        found: Any = placed(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), found)


def _pairs(sources: Any, results: Any) -> Iterator[tuple[Any, Any]]:
    """Each leaf of the results with the leaf that it is like, None for none."""
    if sources is None:
        yield from ((None, x) for x in jax.tree.leaves(results))
    elif jax.tree.structure(sources) == jax.tree.structure(results):
        yield from zip(jax.tree.leaves(sources), jax.tree.leaves(results), strict=True)
    else:
        for source, result in zip_longest(sources, results):
            yield from _pairs(source, result)


def _spec(source: Any, kind: Any, leaves: Sequence[Any]) -> PartitionSpec:
    """How a result is sharded: as its source, or, over time, along axes that arguments of these sizes are."""
    if source is not None:
        return _spec_of(source)
    found: list[Any] = []
    for place, size in enumerate(kind.shape):
        specs = [_spec_of(x)[place] for x in leaves if place < x.ndim and x.shape[place] == size]
        chosen = next((axis for axis in specs if axis is not None and axis not in found), None)
        found.append(chosen)
    return PartitionSpec(*found)


def _spec_of(x: Any) -> PartitionSpec:
    """The axes of an array's sharding, one for each of its own."""
    spec = tuple(jax.typeof(x).sharding.spec)
    return PartitionSpec(*spec, *[None] * (x.ndim - len(spec)))


# Inside `shard_map`


def _in_shard_map(method: Method, given: tuple[Any, ...], axes: frozenset[str]) -> Any:
    """The method where no account is kept; its results vary over all axes that an argument varies over.

    But a gradient, added up over the axes that its parameter does not vary over, varies as that does; and what an
    optimiser makes of gradients varies as any of what it is given.
    """
    over = [tuple(sorted(axes - varying(x))) for x in jax.tree.leaves(given[0])]

    def total(gradient: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *rest: _added_up(gradient, over, axes, *rest)

    leaves, structure = jax.tree.flatten(given)

    def flat(arrays: list[Any]) -> Any:
        return method.run(total, *jax.tree.unflatten(structure, arrays))

    if not method.totals:
        return _differentiable(flat, axes, leaves)
    results = _unchecked(flat, axes)(leaves)
    sources = method.like(*given)[: method.totals]
    kinds = [[varying(x) for x in jax.tree.leaves(source)] for source in sources]
    if method.totals > 1:
        any_of = frozenset[str]().union(*(kind for part in kinds for kind in part))
        kinds = [[any_of] * len(part) for part in kinds]
    of_parts = [*kinds, *([axes] * len(jax.tree.leaves(part)) for part in results[method.totals :])]
    over_axes = [kind for part in of_parts for kind in part]
    found = [_varied(x, kind) for x, kind in zip(jax.tree.leaves(results), over_axes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(results), found)


def _unchecked(function: Callable[..., Any], axes: frozenset[str]) -> Callable[..., Any]:
    """A function of each device's arrays, inside which no account is kept; its results seem to vary over no axis."""
    everywhere = PartitionSpec()

    def inside(*given: Any) -> Any:
        return function(*jax.tree.map(_forgotten, given))

    return jax.shard_map(inside, in_specs=everywhere, out_specs=everywhere, axis_names=set(axes), check_vma=False)


def _forgotten(x: Any) -> Any:
    """An array itself; where no account is kept, what an operation returns seems not to vary, unlike an argument."""
    return jax.lax.squeeze(jax.lax.expand_dims(x, (0,)), (0,))


def _varied(results: Any, over: frozenset[str]) -> Any:
    """Arrays that JAX is told vary over some axes."""
    return jax.lax.pcast(results, tuple(sorted(over)), to="varying") if over else results


def _differentiable(flat: Callable[[list[Any]], Any], axes: frozenset[str], leaves: list[Any]) -> Any:
    """`flat` of arrays, with a derivative by those that are differentiated: that of the sum over devices."""

    @jax.custom_vjp
    def whole(arrays: list[Any]) -> Any:
        return _varied(_unchecked(_apart(flat, axes), axes)(arrays), axes)

    def forward(given: list[Any]) -> tuple[Any, Any]:
        arrays = [x.value for x in given]
        chosen = [k for k, x in enumerate(given) if x.perturbed and jnp.issubdtype(x.value.dtype, jnp.inexact)]

        def both(arrays: list[Any]) -> Any:
            def part(own: list[Any]) -> Any:
                now = list(arrays)
                for k, x in zip(chosen, own, strict=True):
                    now[k] = x
                return _apart(flat, axes)(now)

            return jax.vjp(part, [arrays[k] for k in chosen])

        results, pull = _unchecked(both, axes)(arrays)
        own = {k: varying(arrays[k]) for k in chosen}

        def back(pull: Any, cotangents: Any) -> list[Any]:
            bars = iter(_pulled(pull, cotangents, list(own.values()), axes))
            return [next(bars) if k in own else None for k, _ in enumerate(arrays)]

        return _varied(results, axes), jax.tree_util.Partial(back, pull)

    def reverse(back: Any, cotangents: Any) -> tuple[list[Any]]:
        return (back(cotangents),)

    whole.defvjp(forward, reverse, symbolic_zeros=True)
    return whole(leaves)


def _pulled(pull: Any, cotangents: Any, own: list[frozenset[str]], axes: frozenset[str]) -> list[Any]:
    """The cotangents of arguments that vary over `own` axes each, added up over the others."""
    bars, structure = jax.tree.flatten(cotangents, is_leaf=lambda x: isinstance(x, SymbolicZero))
    floats = [_zeros(x) if isinstance(x, SymbolicZero) else x for x in bars if _is_float(x)]

    def pulled(pull: Any, floats: list[Any]) -> list[Any]:
        remaining = iter(floats)
        whole = [next(remaining) if _is_float(x) else np.zeros(x.shape, jax.dtypes.float0) for x in bars]
        (found,) = pull(jax.tree.unflatten(structure, whole))
        return [_sum(x, axes - over) for x, over in zip(found, own, strict=True)]

    return [_varied(x, over) for x, over in zip(_unchecked(pulled, axes)(pull, floats), own, strict=True)]


def _zeros(like: Any) -> jax.Array:
    return jnp.zeros(like.shape, like.dtype)


def _is_float(x: Any) -> bool:
    return x.dtype != jax.dtypes.float0 and jnp.issubdtype(x.dtype, jnp.inexact)


def _sum(x: Any, axes: Iterable[str]) -> Any:
    names = tuple(sorted(axes))
    return jax.lax.psum(x, names) if names else x


def _added_up(
    gradient: Callable[..., Any], over: Sequence[Iterable[str]], axes: frozenset[str], *given: Any
) -> tuple[Any, ...]:
    """What `gradient` returns, the gradients first among it added up over devices."""
    grads, *others = _apart(gradient, axes)(*given)
    return [_sum(g, names) for g, names in zip(grads, over, strict=True)], *others


def _apart(function: Callable[..., Any], axes: frozenset[str]) -> Callable[..., Any]:
    """A function, refused where it communicates over the axes: its derivative would be that of something else."""

    def whole(*given: Any) -> Any:
        leaves, structure = jax.tree.flatten(given)
        closed, shapes = jx.trace(lambda *arrays: function(*jax.tree.unflatten(structure, arrays)), *leaves)
        if (found := next(_communicating(closed, axes), None)) is not None:
            raise error(
                "mesh-communication",
                f"the model or the loss communicates over mesh axes ({found.primitive.name}) inside shard_map, and "
                "gradients are added up over them",
                loc=jx.location(found),
                help="leave it out: gradients are sums over devices already; or pass shard_map check_vma=False, where "
                "nothing is added up",
            )
        return jax.tree.unflatten(jax.tree.structure(shapes), jx.function(closed)(*leaves))

    return whole


def _communicating(jaxpr: Any, axes: frozenset[str]) -> Iterator[Any]:
    """The equations that communicate over some of the axes."""
    for eqn in jx.equations(jaxpr):
        named = eqn.params.get("axes", eqn.params.get("axis_name", ()))
        names = named if isinstance(named, (tuple, list)) else (named,)
        if eqn.primitive.name not in _LOCAL and any(isinstance(name, str) and name in axes for name in names):
            yield eqn
        for inner in jx.sub_jaxprs(eqn):
            yield from _communicating(inner, axes)
