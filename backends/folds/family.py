"""Units that differ in their arrays alone, such as the layers of a stack: linearised, swept and passed over as one.

Their Jacobians and sensitivities are the same operations on other values: those of the first unit are run on the values
of all, stacked. So many layers are one program, and compile like one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...ir import jaxpr as jx
from ...ir.plan import Jacobian, Plan, Scene, Sensitivity
from ...ir.transition import Transition
from ...ir.values import Value
from ..backend import Uses
from .pattern import Sweep, Unit
from .tape import Numbers

MANY = 8
"""So many like units are taken as one; fewer are written out, and their traces lie where they are."""


@dataclass(frozen=True, eq=False)
class Family:
    """One unit, or many alike. Where there are many, arrays of theirs have a leading axis."""

    units: tuple[Unit, ...]
    operands: dict[Value, tuple[Value, ...]]
    """For each value that the first unit's derivatives are taken at, those of all units."""
    numbers: Numbers
    """At least as many as there are units, where there are many."""

    @property
    def unit(self) -> Unit:
        """The first one, which stands for all."""
        return self.units[0]

    @property
    def members(self) -> int | None:
        """The size of the leading axis; None for a single unit, which has none."""
        return len(self.units) if len(self.units) > 1 else None

    def stacked(self, arrays: Sequence[Any], axis: int = 0) -> Any:
        """One array of those of the units."""
        return arrays[0] if self.members is None else jnp.stack(list(arrays), axis)

    def apart(self, array: Any, axis: int = 0) -> list[Any]:
        """The arrays of the units."""
        return [array] if self.members is None else self.numbers.apart(array, len(self.units), axis)

    def by_state(self, arrays: Sequence[Any]) -> dict[int, Any]:
        """Of arrays of all hidden states, those of the units', by the first one's states."""
        places = zip(*(unit.states for unit in self.units), strict=True)
        return {of[0]: self.stacked([arrays[k] for k in of]) for of in places}

    def linearised(
        self, scene: Scene, together: Mapping[tuple[Value, ...], Any], run: Callable[[Scene], None]
    ) -> tuple[Any, Any]:
        """Jacobians, and for each sweep the sensitivities, in a scene; `run` computes the first unit's.

        `together` has values of many units as one array, where there is one.
        """
        if self.members is None:
            run(scene)
            return _derivatives(self.unit, scene)

        def of_one(values: list[Any]) -> Any:
            own = Scene(
                transition=scene.transition, values=scene.values | dict(zip(self.operands, values, strict=True))
            )
            run(own)
            return _derivatives(self.unit, own)

        every = self.operands.values()
        found = jax.vmap(of_one)([together[v] if v in together else self.stacked(scene.read(v)) for v in every])
        # Each of them is read many times: else XLA computes it where it is read, once and again.
        return jax.lax.optimization_barrier(found)


def _derivatives(unit: Unit, scene: Scene) -> tuple[Any, Any]:
    here = {pair: scene[value] for pair, value in unit.jacobians.items()}
    return here, [{k: scene[f] for k, f in sweep.factors.items()} for sweep in unit.sweeps]


def families(transition: Transition, plan: Plan, units: Sequence[Unit]) -> tuple[list[Family], Numbers]:
    """The units of a plan, those that are alike together where they are many; and the numbers of the largest family."""
    likeness, found = _Likeness(transition, Uses(plan)), list[list[Any]]()
    for unit in units:
        for of in found:
            if (operands := likeness.operands(of[0][0], unit)) is not None:
                of.append((unit, operands))
                break
        else:
            found.append([(unit, {})])
    numbers = Numbers(max((len(of) for of in found if len(of) >= MANY), default=0))
    whole: list[Family] = []
    for of in found:
        if len(of) < MANY:
            whole += [Family((unit,), {}, numbers) for unit, _ in of]
            continue
        operands = {v: (v, *(more[v] for _, more in of[1:])) for v in of[1][1]}
        whole.append(Family(tuple(unit for unit, _ in of), operands, numbers))
    return whole, numbers


class _Likeness:
    """Whether two units' derivatives are the same operations of corresponding values."""

    def __init__(self, transition: Transition, uses: Uses) -> None:
        self.transition, self.uses = transition, uses
        self.producers: dict[str, jx.Producers] = {}

    def operands(self, one: Unit, other: Unit) -> dict[Value, Value] | None:
        """For each value that `one` is linearised at that of `other`; None where they are not alike."""
        if self._outline(one) is None or self._outline(one) != self._outline(other):
            return None
        if one.group.region != other.group.region:
            return None
        region = self.transition.region(one.group.region)
        if one.group.region not in self.producers:
            self.producers[one.group.region] = jx.Producers(region.body)
        producers, results = self.producers[one.group.region], jx.outvars(region.body)
        ends = [[results[self.transition.hidden.index(s)] for s in unit.group.states] for unit in (one, other)]
        same = corresponding(*((producers.reaching(atoms), atoms) for atoms in ends))
        if same is None:
            return None
        variables = dict(zip(jx.argument_vars(region.body), region.inputs, strict=True))
        if any((a in variables) != (b in variables) for a, b in same.items()):
            return None
        inputs = jx.argument_vars(region.body)
        place = {value: k for k, value in enumerate(region.inputs)}
        first = len(inputs) - len(self.transition.sites)
        marks = [(place[a.before], place[b.before]) for a, b in zip(one.group.states, other.group.states, strict=True)]
        for a, b in zip(one.sweeps, other.sweeps, strict=True):
            marks.append((first + self.transition.sites.index(a.site), first + self.transition.sites.index(b.site)))
        met = set(same.values())
        for a, b in marks:
            if same.get(inputs[a], inputs[b]) is not inputs[b] or (inputs[a] not in same and inputs[b] in met):
                return None
        consts = set(jx.all_invars(region.body)) - set(inputs)
        if any(a in consts and a is not b for a, b in same.items()):
            return None
        shifts = set(inputs[first:])
        return {variables[a]: variables[b] for a, b in same.items() if a in variables and a not in shifts}

    def _outline(self, unit: Unit) -> Any:
        """What like units have in common beside their equations; None for a unit that is taken alone."""
        if unit.sweeps[0].couplings is not None:
            return None
        rank = {k: i for i, k in enumerate(unit.states)}
        jacobians = [((rank[a], rank[b]), self._made(v, unit.group)) for (a, b), v in sorted(unit.jacobians.items())]
        sweeps = [self._outline_of(sweep, rank) for sweep in unit.sweeps]
        made = [m for _, m in jacobians] + [m for sweep in sweeps for m in sweep[0]]
        if None in made:
            return None
        group = unit.group
        couplings = [group.dependence(a, b) for a in group.states for b in group.states]
        return [group.shape, [s.before.type for s in group.states], couplings, jacobians, sweeps]

    def _made(self, value: Value, of: Any) -> Any:
        """How a derivative of a group or an association is computed; None where not by the operation for just that."""
        op = self.uses.maker.get(value)
        if type(op) is Jacobian and op.group is of:
            return op.pairs, op.whole, op.results.index(value), value.type
        if type(op) is Sensitivity and op.association is of:
            return op.states, op.results.index(value), value.type
        return None

    def _outline_of(self, sweep: Sweep, rank: dict[int, int]) -> Any:
        place, data, association = sweep.placement, sweep.data, sweep.placement.association
        factors = [self._made(f, association) for f in sweep.factors.values()]
        if data in self.uses.maker:
            factors.append(None)
        return (
            factors,
            [rank[k] for k in sweep.factors],
            [rank[k] for k in sweep.states],
            [trace.before.type for trace in sweep.traces],
            (place.output, place.trace, place.data, list(place.sizes.items())),
            (association.couplings, association.union),
            data if data is None else data.type,
            sweep.picked or sweep.data is sweep.site.data,
            (sweep.site.weight.value.type, sweep.site.output.type),
        )


def corresponding(one: Any, other: Any) -> dict[Any, Any] | None:
    """The variables of some equations, and those in their places in others that do the same; None where they do not.

    Both are pairs of equations and results. No two variables correspond to the same one.
    """
    (equations, results), (others, their_results) = one, other
    if len(equations) != len(others):
        return None
    found: dict[Any, Any] = {}

    def same(a: Any, b: Any) -> bool:
        if jx.is_literal(a) or jx.is_literal(b):
            both = jx.is_literal(a) and jx.is_literal(b)
            return both and jx.type_of(a) == jx.type_of(b) and np.array_equal(a.val, b.val)
        return found.setdefault(a, b) is b and jx.type_of(a) == jx.type_of(b)

    for a, b in zip(equations, others, strict=True):
        if a.primitive is not b.primitive or not _same_parameters(a.params, b.params):
            return None
        if len(a.invars) != len(b.invars) or not all(map(same, a.invars, b.invars)):
            return None
        if len(a.outvars) != len(b.outvars) or not all(map(same, a.outvars, b.outvars)):
            return None
    if not all(map(same, results, their_results)) or len(set(found.values())) != len(found):
        return None
    return found


def _same_parameters(one: Any, other: Any) -> bool:
    """Whether two equations' parameters are equal; bodies are, where they print alike."""
    if one.keys() != other.keys():
        return False
    pairs = [(x, other[key]) for key, x in one.items()]
    return all((str(x) == str(y)) if jx.is_jaxpr(x) and jx.is_jaxpr(y) else _equal(x, y) for x, y in pairs)


def _equal(x: Any, y: Any) -> bool:
    try:
        return x is y or bool(x == y)
    except (TypeError, ValueError):
        return False
