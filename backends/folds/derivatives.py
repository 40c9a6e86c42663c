"""The Jacobians and sensitivities of a unit as a function of what a step is made of, to be had again when wanted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax

from ...ir import jaxpr as jx
from ...ir.plan import Operation, Scene
from ...ir.transition import Transition
from ...ir.values import Value
from ..backend import Override, Uses
from .maps import Map


@dataclass(frozen=True, eq=False, kw_only=True)
class Derivatives:
    """`D` and `f` of a step, from the values that their operations read."""

    transition: Transition
    overrides: Mapping[type[Operation], Override]
    operations: tuple[Operation, ...]
    """In program order."""
    operands: tuple[Value, ...]
    """What they read of each step."""
    constants: tuple[Value, ...]
    """What they read of parameters and weights."""
    results: tuple[Value, ...]

    @classmethod
    def of(
        cls,
        transition: Transition,
        uses: Uses,
        overrides: Mapping[type[Operation], Override],
        results: Iterable[Value],
    ) -> Derivatives:
        """Those of some results."""
        results = tuple(dict.fromkeys(results))
        needed, chosen = set(results), set[Operation]()
        for op in reversed(uses.plan.step):
            if needed.intersection(op.results):
                chosen.add(op)
                needed.update(op.needs(transition))
        made = {v for op in chosen for v in op.results}
        operations = tuple(op for op in uses.plan.step if op in chosen)
        read = [v for v in dict.fromkeys(v for op in operations for v in op.needs(transition)) if v not in made]
        fixed = {p.value for p in transition.params} | {w.value for w in transition.weights}
        return cls(
            transition=transition,
            overrides=overrides,
            operations=operations,
            operands=tuple(v for v in read if v not in fixed),
            constants=tuple(v for v in read if v in fixed),
            results=results,
        )

    def __call__(self, values: Mapping[Value, Any]) -> dict[Value, Any]:
        """The results by value, of a step's operands and of constants."""
        given = {v: values[v] for v in (*self.operands, *self.constants)}
        scene = Scene(transition=self.transition, values=given)
        for op in self.operations:
            scene.run(op, self.overrides)
        return {v: scene[v] for v in self.results}

    @cached_property
    def as_map(self) -> Map | str:
        """Them as a map of positions; the reason where they are none."""
        given = (*self.operands, *self.constants)
        kinds = [jax.ShapeDtypeStruct(v.type.shape, v.type.dtype) for v in given]
        closed, _ = jx.trace(lambda *arrays: list(self(dict(zip(given, arrays, strict=True))).values()), *kinds)
        return Map.of(closed, len(self.operands))
