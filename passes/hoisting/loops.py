"""Products in the body of a `scan`, outside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from ...coupling.primitives.elementwise import ELEMENTWISE
from ...ir import jaxpr as jx
from ...ir.tails import REPEATING
from ...ir.weight_operations import identity
from .uses import (
    Enter,
    Find,
    Reached,
    Use,
    Wanted,
    counters,
    entering,
    inputs_of,
    made_of_params,
    needed,
    run,
    turns,
    uses_in,
)

_AT_ONCE = REPEATING.union(ELEMENTWISE)
"""What computes something for all trips together as it does for one."""


@dataclass(slots=True, eq=False)
class _Known:
    """Variables of a body that are known outside the loop: one value for all trips, or one for each, stacked."""

    always: dict[Any, Any] = field(default_factory=dict[Any, Any])
    by_trip: dict[Any, Any] = field(default_factory=dict[Any, Any])


class Loop:
    """One `scan`, its products with weights outside it.

    - Data that do not depend on the carry are computed before the loop, and so is their product: once where they are
      the same in every trip, else for all trips at once, the trip being one more axis of the data.
    - Data that depend on the carry come out of a run of the whole loop; the product of all trips follows, and a second
      run takes it in. What the first run makes of weights and states is the credit from trip to trip.
    - What mixes positions is moved so too; of what it makes of the carry, the loop keeps the derivative by each
      reader's own position.
    - A weight that multiplies the carry element by element stays where it is, and becomes a site before the loop: the
      products are followed through the loop as they are.
    """

    def __init__(
        self, eqn: Any, operands: Sequence[Reached], wanted: Wanted, enter: Enter, find: Find = uses_in
    ) -> None:
        """Find the products of a `scan` whose operands are made of these parameters."""
        self.eqn = eqn
        self.consts, self.carry, _ = jx.scan_split(eqn)
        ends = self.consts, self.consts + self.carry
        inside = entering(eqn, operands)
        self.body = enter(eqn.params["jaxpr"], inside, wanted)
        self.arguments = jx.argument_vars(self.body)
        self.counters = {k: by for k, by in counters(eqn).items() if inside[k] == ()}
        """The places of the carries that are known in each trip, and by how much they move."""
        moving = [self.arguments[k] for k in range(*ends) if k not in self.counters]
        counted = [self.arguments[k] for k in self.counters]
        self.carried = _depending(self.body, moving)
        self.scanned = _depending(self.body, [*counted, *self.arguments[ends[1] :]])
        known = made_of_params(self.body, inside)
        uses = find(self.body, known, wanted)
        late = [use for use in uses if any(map(self._is_carried, use.data))]
        self.inner = [use for use in late if use.elementwise]
        self.early = turns(self.body, [use for use in uses if use not in late])
        """The products whose data are known before the loop, each with its turn."""
        self.late = [use for use in late if use not in self.inner]
        self.picked = self._picked(known, uses, wanted)
        """What is made of parameters differently in each trip, and used as it is: an element of a stack, say."""

    @property
    def uses_weights(self) -> bool:
        """Whether there are products at all, in a loop that is run."""
        return bool(self.inner or self.early or self.late or self.picked) and self.eqn.params["length"] > 0

    def _is_carried(self, atom: Any) -> bool:
        return not jx.is_literal(atom) and atom in self.carried

    def _picked(self, known: Mapping[Any, tuple[int, ...]], uses: Sequence[Use], wanted: Wanted) -> list[Any]:
        products = {id(use.eqn) for use in uses}
        others = [
            eqn for eqn in jx.equations(self.body) if id(eqn) not in products and not known.keys() >= {*eqn.outvars}
        ]
        read = {atom for eqn in others for atom in eqn.invars if not jx.is_literal(atom)}
        read |= {atom for atom in jx.outvars(self.body) if not jx.is_literal(atom)}
        return [
            var
            for var, of in known.items()
            if of and var in read and var in self.scanned and var not in self.arguments and wanted(of)
            if jx.type_of(var).carries_credit
        ]

    def change(self, operands: Sequence[Any]) -> list[Any]:
        """The results."""
        body, known = self.body, _Known(by_trip={var: self._value(var, operands, _Known())[0] for var in self.picked})
        for turn in sorted(set(self.early.values())):
            self._multiply([use for use, at in self.early.items() if at == turn], operands, known)
        for use in self.inner:
            (var,) = use.weights
            weight, of_trips = self._value(var, operands, _Known())
            with jx.made_by(use.eqn):
                (known.by_trip if of_trips else known.always)[var] = identity(weight)
        if self.late:
            atoms = list(dict.fromkeys(a for use in self.late for a in use.data if self._is_carried(a)))
            data = dict(zip(atoms, self._run(self.body, operands, known, atoms)[self.carry :], strict=True))
            self._multiply(self.late, operands, known, data)
            body = self._own_kept(operands, known, data)
        return self._run(body, operands, known, jx.outvars(body)[self.carry :], effects=True)

    def _multiply(
        self,
        uses: Sequence[Use],
        operands: Sequence[Any],
        known: _Known,
        late: Mapping[Any, Any] = MappingProxyType({}),
    ) -> None:
        """Note the results of some uses; `late` has those data that depend on the carry, in every trip."""
        for use in uses:
            data = [(late[a], True) if self._is_carried(a) else self._value(a, operands, known) for a in use.data]
            weights = [self._value(a, operands, _Known()) for a in use.weights]  # of parameters, and of no product
            values, of_trips = zip(*data, *weights, strict=True)
            result = use.stacked(values, of_trips)
            (known.by_trip if any(of_trips) else known.always)[use.output] = result

    def _own_kept(self, operands: Sequence[Any], known: _Known, late: Mapping[Any, Any]) -> Any:
        """The body, in which what mixes positions of the carry has the derivative by each reader's own position.

        It adds slopes times what the data in the loop differ by from those of the run before, which is nothing: as a
        whole the body computes what it did, and where the run before counts as a constant, the diagonal is kept.
        """
        eqns, calls, extra = jx.equations(self.body), dict[Any, Any](), dict[Any, Any]()
        for use in self.late if not any(eqn.effects for eqn in eqns) else ():
            own = [a for a in use.own if self._is_carried(a)]
            if not own or use.slopes is None:
                continue
            data = [(late[a], True) if self._is_carried(a) else self._value(a, operands, known) for a in use.data]
            values, of_trips = zip(*data, strict=True)
            slopes = jax.vmap(use.slopes, in_axes=tuple(0 if on else None for on in of_trips))(*values)
            slopes = [slope for a, slope in zip(use.own, slopes, strict=True) if a in own]
            given = [known.by_trip.pop(use.output), *slopes, *(late[a] for a in own)]
            (call,) = jx.equations(jx.trace(jax.jit(_with_own), *map(jx.struct_of, [use.output, *own * 3]))[0])
            extra |= zip(call.invars[: len(given)], given, strict=True)
            call = jx.rewired(call, [*call.invars[: len(given)], *own], [use.output])
            calls[use.output] = jx.placed(call, use.eqn)
        if not calls:
            return self.body
        known.by_trip |= extra
        constants = dict(zip(jx.all_invars(self.body), jx.consts_of(self.body), strict=False))
        eqns = [calls.get(eqn.outvars[0], eqn) for eqn in eqns]
        return jx.assembled(constants, [*self.arguments, *extra], jx.outvars(self.body), eqns, self.body)

    def _value(self, atom: Any, operands: Sequence[Any], known: _Known) -> tuple[Any, bool]:
        """What a variable that does not depend on the carry is, and whether it is that of each trip, stacked."""
        if jx.is_literal(atom) or atom not in self.scanned:
            return run(self.body, operands, known.always, [atom])[0], False
        if atom in self.arguments:
            return self._of_trips(self.arguments.index(atom), operands), True
        read = inputs_of(self.body, [atom], {**known.always, **known.by_trip})
        of_trips = (*self.counters, *range(self.consts + self.carry, len(operands)))
        slices = [k for k in of_trips if self.arguments[k] in read]
        values = [var for var in known.by_trip if var in read]

        def trip(carry: None, of_trip: tuple[list[Any], list[Any]]) -> tuple[None, Any]:
            arguments = list(operands)
            for k, x in zip(slices, of_trip[0], strict=True):
                arguments[k] = x
            given = known.always | dict(zip(values, of_trip[1], strict=True))
            return carry, run(self.body, arguments, given, [atom])[0]

        stacked = [self._of_trips(k, operands) for k in slices], [known.by_trip[var] for var in values]
        eqns = needed(jx.equations(self.body), [atom], {**known.always, **known.by_trip})
        if all(eqn.primitive.name in _AT_ONCE for eqn in eqns):
            return jax.vmap(lambda *of_trip: trip(None, of_trip)[1])(*stacked), True
        return jax.lax.scan(trip, None, stacked, length=self.eqn.params["length"])[1], True

    def _of_trips(self, k: int, operands: Sequence[Any]) -> Any:
        """The values of a scanned argument, or of a counter, in the order in which they are scanned over."""
        if k not in self.counters:
            return operands[k]
        trips = jnp.arange(self.eqn.params["length"], dtype=jx.struct_of(self.arguments[k]).dtype)
        order = trips[::-1] if self.eqn.params["reverse"] else trips
        return operands[k] + self.counters[k] * order

    def _run(
        self, body: Any, operands: Sequence[Any], known: _Known, results: Sequence[Any], *, effects: bool = False
    ) -> list[Any]:
        """The carry after the loop, and some variables of a body of its, stacked.

        What its body takes beyond the loop's operands is known in each trip.
        """
        first, last = self.consts, self.consts + self.carry
        new, beyond = jx.outvars(body)[: self.carry], [None] * (len(jx.argument_vars(body)) - len(self.arguments))
        read = inputs_of(body, [*new, *results], {**known.always, **known.by_trip}, effects=effects)
        by_trip = {var: value for var, value in known.by_trip.items() if var in read}

        def trip(carry: list[Any], of_trip: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
            given = known.always | dict(zip(by_trip, of_trip[1], strict=True))
            arguments = [*operands[:first], *carry, *of_trip[0], *beyond]
            found = run(body, arguments, given, [*new, *results], effects=effects)
            return found[: len(new)], found[len(new) :]

        params = self.eqn.params
        carry, stacked = jax.lax.scan(
            trip,
            list(operands[first:last]),
            (list(operands[last:]), list(by_trip.values())),
            length=params["length"],
            reverse=params["reverse"],
            unroll=params["unroll"],
        )
        return [*carry, *stacked]


def _with_own(mixed: Any, *of_own: Any) -> Any:
    """What mixes positions, and beside it slopes times the differences of data from those that it was made of."""
    count = len(of_own) // 3
    slopes, before, now = (jax.lax.stop_gradient(of_own[:count]), of_own[count : 2 * count], of_own[2 * count :])
    for slope, old, new in zip(slopes, before, now, strict=True):
        mixed += jnp.where(jnp.isfinite(slope) & jnp.isfinite(new), slope * (new - old), 0).astype(mixed.dtype)
    return mixed


def _depending(body: Any, sources: Iterable[Any]) -> Collection[Any]:
    """The variables of a body that depend on some of its arguments, these included."""
    found = set(sources)
    for eqn in jx.equations(body):
        if any(not jx.is_literal(atom) and atom in found for atom in eqn.invars):
            found.update(eqn.outvars)
    return found
