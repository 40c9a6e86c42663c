"""The sweep over one unit's history, by kernel 2."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import jax

from ..folds.algebra import Algebra, OnPositions
from ..folds.history import Carried, Stretch, no_steps, swept_step
from ..folds.pattern import Sweep, Unit
from ..shared import Shared
from .suffix import WIDTH, Suffix
from .target import TOO_OLD, on_gpu, takes_references

FLOAT = "float32"
ROWS = 24
"""So many arrays of a step may be on their way to a chip at once, and from it."""


class SuffixSweep:
    """`history.in_one_loop` of a single stretch by kernel 2."""

    def __init__(self, interpreted: bool) -> None:
        """Say whether the kernel is interpreted where there is no GPU."""
        self.interpreted = interpreted

    def __call__(self, stretch: Stretch) -> Carried:
        """What the sweep returns."""
        suffix = Suffix(partial(_step, _Flat.of(stretch.unit)))

        def kernel(interpret: Any, start: Any, rows: Any) -> Any:
            return suffix.launch(start, rows, interpret)

        start = no_steps(stretch.unit, stretch.like, behind=False)
        rows = Shared((stretch.jacobians, stretch.sensitivities, stretch.arriving))
        given = jax.tree.map(lambda x: x.reshape(-1), start), jax.tree.map(lambda x: x.reshape(x.shape[0], -1), rows)
        (product, credit), found = on_gpu(kernel, suffix.by_definition, self.interpreted, *given)
        shape, (factors, sent) = stretch.unit.group.shape, found.tree
        return Carried(
            product={pair: x.reshape(shape) for pair, x in product.items()},
            cotangents={k: x.reshape(shape) for k, x in credit.items()},
            factors=[{k: x.reshape(-1, *shape) for k, x in of.items()} for of in factors],
            credit=[None if x is None else x.reshape(-1, *shape) for x in sent],
        )


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
    """What is emitted for a unit that the kernel takes."""
    return (
        f"a launch for all steps of a stored history of {unit.sweeps[0].placement.output_size} positions, "
        f"{WIDTH} a block; XLA code elsewhere"
    )


def _step(unit: Unit, carry: Any, rows: Any) -> tuple[Any, Any]:
    """One step of the sweep, on vectors."""
    (product, credit), (here, sensitive, arrived) = carry, rows.tree
    moved, found = swept_step(unit, product, credit, unit.algebra.here(here), sensitive, arrived)
    return moved, Shared(found)


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
        return cls(group=unit.group, states=unit.states, jacobians=unit.jacobians, sweeps=unit.sweeps, whole=unit.whole)

    @cached_property
    def algebra(self) -> Algebra:
        """How Jacobians are multiplied."""
        return _FlatAlgebra()
