"""What folds hand on of traces: arrays, many like units' as one, and what the last step leaves pending (`lag.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ...ir.values import Value
from .algebra import Cotangents, Held, Jacobians
from .family import Family
from .lag import Lag, Pending, Traces


class Left(NamedTuple):
    """What is pending, of families."""

    steps: list[tuple[Jacobians, list[Cotangents]]]
    """Of each family `D`, as its algebra has it, and each sweep's `f`."""
    data: dict[int, Any]
    """`x`, by place among the data of a fold."""


class HandedOn:
    """Turns the traces of a carry into those of families, and back."""

    def __init__(self, lag: Lag, families: Sequence[Family], data: Sequence[tuple[Value, ...]]) -> None:
        """Prepare for the data of a fold, values or many units' together."""
        self.lag, self.families = lag, families
        self.places = [[lag.units.index(unit) for unit in family.units] for family in families]
        self.data = {k: bundle for k, bundle in enumerate(data) if set(lag.data).issuperset(bundle)}

    def arrays(self, traces: Traces) -> list[list[Held]]:
        """The traces of each family and sweep that are carried, by state."""

        def of(family: Family, at: int) -> Held:
            carried = [unit.carried(unit.sweeps[at]) for unit in family.units]
            found = [[traces[self.lag.place[trace]] for trace in of_unit.values()] for of_unit in carried]
            # Settled before they are stacked: else what settles them is compiled once more, and larger, for the stack.
            found = found if family.members is None else jax.lax.optimization_barrier(found)
            stacked = [family.stacked(of_state) for of_state in zip(*found, strict=True)]
            return dict(zip(carried[0], stacked, strict=True))

        return [[of(family, at) for at, _ in enumerate(family.unit.sweeps)] for family in self.families]

    def released(self, traces: Traces, held: list[list[Held]], left: Left | None) -> Traces:
        """All traces, those that are held in families by their own places again, and what is pending."""
        new = list(traces[: len(self.lag.place)])
        for family, of_family in zip(self.families, held, strict=True):
            for at, arrays in enumerate(of_family):
                carried = [list(unit.carried(unit.sweeps[at]).values()) for unit in family.units]
                for k, state in enumerate(family.unit.carried(family.unit.sweeps[at])):
                    for of_unit, x in zip(carried, family.apart(arrays[state]), strict=True):
                        new[self.lag.place[of_unit[k]]] = x
        return tuple(new) if left is None else (*new, self._of_units(left))

    def pending(self, traces: Traces) -> Left | None:
        """What is pending behind traces; None where nothing ever stays so."""
        if not self.lag.stays_behind:
            return None
        pending, steps = self.lag.pending(traces), list[Any]()
        for family, places in zip(self.families, self.places, strict=True):
            every = [(pending.jacobians[k], pending.sensitivities[k]) for k in places]
            columns = zip(*(jax.tree.leaves(of_unit) for of_unit in every), strict=True)
            steps.append(jax.tree.unflatten(jax.tree.structure(every[0]), [family.stacked(x) for x in columns]))
        known = dict(zip(self.lag.data, pending.data, strict=True))
        parts = {k: [known[v] for v in bundle] for k, bundle in self.data.items()}
        return Left(steps, {k: jnp.stack(of) if len(of) > 1 else of[0] for k, of in parts.items()})

    def _of_units(self, found: Left) -> tuple[Any, ...]:
        """What stands behind the traces in a carry."""
        kinds, units, known = self.lag.kinds, dict[int, Any](), dict[Value, Any]()
        for family, places, steps in zip(self.families, self.places, found.steps, strict=True):
            apart = zip(*(family.apart(x) for x in jax.tree.leaves(steps)), strict=True)
            for k, leaves in zip(places, apart, strict=True):
                structure = jax.tree.structure((kinds.jacobians[k], kinds.sensitivities[k]))
                units[k] = jax.tree.unflatten(structure, leaves)
        for k, bundle in self.data.items():
            parts = found.data[k] if len(bundle) > 1 else [found.data[k]]
            known |= dict(zip(bundle, parts, strict=True))
        order = sorted(units)
        pending = Pending([units[k][0] for k in order], [units[k][1] for k in order], [known[v] for v in self.lag.data])
        return tuple(jax.tree.leaves(pending))


def with_last(old: Any, new: Any, last: Any) -> Any:
    """Of one family what is left, `D` and `f`: what the `new` step leaves where it is the `last` one."""
    (jacobians, factors), (here, sensitive) = old, new
    here = {pair: here.get(pair, jnp.zeros_like(x)).astype(x.dtype) for pair, x in jacobians.items()}
    return jax.tree.map(lambda x, y: jnp.where(last, y, x), (jacobians, factors), (here, sensitive))
