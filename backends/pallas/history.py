"""The sweep over one unit's history, by kernel 2; with the Jacobians and sensitivities made in it, by kernel 4."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property, partial
from typing import Any

import jax

from ..folds.algebra import Algebra, OnPositions
from ..folds.history import Carried, Stretch, no_steps, swept_step
from ..folds.maps import Map
from ..folds.pattern import Sweep, Unit
from ..shared import Shared
from .suffix import WIDTH, Suffix
from .target import TOO_OLD, on_gpu, takes_references

FLOAT = "float32"
ROWS = 24
"""So many arrays of a step may be on their way to a chip at once, and from it."""


class SuffixSweep:
    """`history.in_one_loop` of a single stretch by kernel 2, or where its history is remade by kernel 4."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(self, stretch: Stretch) -> Carried:
        """What the sweep returns."""
        suffix = Suffix(partial(_step, _Flat.of(stretch.unit)), stretch.steps)

        def kernel(interpret: Any, start: Any, rows: Any) -> Any:
            return suffix.launch(start, rows, interpret)

        start = no_steps(stretch.unit, stretch.like, behind=False)
        rows = Shared((_laid_out(stretch), stretch.arriving))
        time = len(stretch.unit.group.shape)
        flat = jax.tree.map(lambda x: x.reshape(*x.shape[: x.ndim - time], -1), rows)
        given = jax.tree.map(lambda x: x.reshape(-1), start), flat
        (product, credit), found = on_gpu(kernel, suffix.by_definition, self.interpreted, *given)
        shape, (factors, sent) = stretch.unit.group.shape, found.tree
        return Carried(
            product={pair: x.reshape(shape) for pair, x in product.items()},
            cotangents={k: x.reshape(shape) for k, x in credit.items()},
            factors=[{k: x.reshape(-1, *shape) for k, x in of.items()} for of in factors],
            credit=[None if x is None else x.reshape(-1, *shape) for x in sent],
        )


def _laid_out(stretch: Stretch) -> Any:
    """Derivatives at every step; or what their map reads, what changes and what does not."""
    remade = stretch.unit.remade
    if remade is None:
        return stretch.linearised(stretch.rows)
    assert isinstance(remade.as_map, Map)
    return remade.as_map.laid_out(stretch.rows, [stretch.constants[v] for v in remade.constants])


def map_of(unit: Unit) -> Map | str:
    """What kernel 4 makes `D` and `f` by; the reason where they are kept instead."""
    assert unit.derivatives is not None
    found = unit.derivatives.as_map
    if isinstance(found, str):
        return found
    if len(found.varying) > len(unit.linear):
        return f"it follows from {len(found.varying)} arrays a step, and is {len(unit.linear)}"
    return found


def fault(unit: Unit) -> str | None:
    """Why kernel 2 does not take a unit; None where it does."""
    values = [*unit.jacobians.values(), *(f for sweep in unit.sweeps for f in sweep.factors.values())]
    kinds = {v.type.dtype for v in values} | {sweep.site.output.type.dtype for sweep in unit.sweeps}
    kinds = (kinds | {state.before.type.dtype for state in unit.group.states}) - {FLOAT}
    arrays = len(values) + len(unit.states) + sum(1 + len(sweep.states) for sweep in unit.sweeps)
    if not takes_references():
        return TOO_OLD
    if not isinstance(unit.algebra, OnPositions):
        return "positions meet: its Jacobians are small matrices"
    if kinds:
        return f"its history is of {', '.join(sorted(kinds))}; wanted float32"
    if any(
        not sweep.placement.is_identity or sweep.placement.output_shape != unit.group.shape for sweep in unit.sweeps
    ):
        return "a use's outputs come to other positions than their own"
    if any(not sweep.factors for sweep in unit.sweeps) or not unit.sweeps[0].placement.output_size:
        return "nothing feeds it"
    if arrays > ROWS:
        return f"a step of it has {arrays} arrays; at most {ROWS} are on their way at once"
    return None


def outline(unit: Unit) -> str:
    """What is emitted for a unit that one of the kernels takes."""
    found = map_of(unit)
    if isinstance(found, str):
        how = f"D and f are stored: {found}"
    else:
        by = _counted(len(found.equations), "operation"), _counted(len(found.varying), "array")
        how = f"D and f are made in it, by {by[0]} from {by[1]} a step, and never stored"
    size = unit.sweeps[0].placement.output_size
    return f"a launch for all steps of a history of {size} positions, {WIDTH} a block; {how}; XLA code elsewhere"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _step(unit: Unit, carry: Any, rows: Any) -> tuple[Any, Any]:
    """One step of the sweep, on vectors."""
    (product, credit), (given, arrived) = carry, rows.tree
    here, sensitive = given if unit.remade is None else _made(unit, *given, like=jax.tree.leaves(carry)[0])
    moved, found = swept_step(unit, product, credit, unit.algebra.here(here), sensitive, arrived)
    return moved, Shared(found)


def _made(unit: Unit, varying: Any, fixed: Any, like: Any) -> Any:
    """`D` and `f` by the unit's map."""
    assert unit.remade is not None
    assert isinstance(unit.remade.as_map, Map)
    found = dict(zip(unit.remade.results, unit.remade.as_map(varying, fixed, like), strict=True))
    jacobians = {pair: found[v] for pair, v in unit.jacobians.items()}
    return jacobians, [{k: found[f] for k, f in sweep.factors.items()} for sweep in unit.sweeps]


class _FlatAlgebra(OnPositions):
    """Diagonal Jacobians of positions that lie in one row, each fed by the output in its place."""

    def applied(self, sweep: Sweep, jacobian: Any, sensitivity: Any) -> Any:
        """Position by position."""
        return jacobian * sensitivity

    def received(self, sweep: Sweep, credit: Any, sensitivity: Any) -> Any:
        """Position by position."""
        return credit * sensitivity


class _Flat(Unit):
    """A unit whose positions lie in one row."""

    @classmethod
    def of(cls, unit: Unit) -> _Flat:
        """A unit's."""
        return cls(**{field.name: getattr(unit, field.name) for field in fields(unit)})

    @cached_property
    def algebra(self) -> Algebra:
        """How Jacobians are multiplied."""
        return _FlatAlgebra()
