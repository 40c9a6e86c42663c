"""Products in the body of a `scan`, outside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.weight_operations import identity
from .uses import Enter, Reached, Use, Wanted, counters, entering, inputs_of, made_of_params, run, turns, uses_in


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
    - A weight that multiplies the carry element by element stays where it is, and becomes a site before the loop: the
      products are followed through the loop as they are.
    """

    def __init__(self, eqn: Any, operands: Sequence[Reached], wanted: Wanted, enter: Enter) -> None:
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
        uses = uses_in(self.body, known, wanted)
        late = [u for u in uses if u.data is not None and not jx.is_literal(u.data) and u.data in self.carried]
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

    def _picked(self, known: Mapping[Any, tuple[int, ...]], uses: Sequence[Use], wanted: Wanted) -> list[Any]:
        products = {id(use.eqn) for use in uses}
        others = [eqn for eqn in jx.equations(self.body) if id(eqn) not in products and eqn.outvars[0] not in known]
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
        known = _Known(by_trip={var: self._value(var, operands, _Known())[0] for var in self.picked})
        for turn in sorted(set(self.early.values())):
            self._multiply([use for use, at in self.early.items() if at == turn], operands, known)
        for use in self.inner:
            weight, of_trips = self._value(use.weight, operands, _Known())
            with jx.made_by(use.eqn):
                (known.by_trip if of_trips else known.always)[use.weight] = identity(weight)
        if self.late:
            data = self._run(operands, known, [use.data for use in self.late])[self.carry :]
            self._multiply(self.late, operands, known, data)
        return self._run(operands, known, jx.outvars(self.body)[self.carry :], effects=True)

    def _multiply(self, uses: Sequence[Use], operands: Sequence[Any], known: _Known, late: Sequence[Any] = ()) -> None:
        """Note the products of some uses; `late` are their data in every trip, where these depend on the carry."""
        for k, use in enumerate(uses):
            data, of_trips = (late[k], True) if late else self._value(use.data, operands, known)
            weight, of_weights = self._value(use.weight, operands, _Known())  # of parameters, and of no product
            product = use.stacked(data, weight, of_trips, of_weights)
            (known.by_trip if of_trips or of_weights else known.always)[use.output] = product

    def _value(self, atom: Any, operands: Sequence[Any], known: _Known) -> tuple[Any, bool]:
        """What a variable that does not depend on the carry is, and whether it is that of each trip, stacked."""
        if atom is None or jx.is_literal(atom) or atom not in self.scanned:
            return (None if atom is None else run(self.body, operands, known.always, [atom])[0]), False
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
        return jax.lax.scan(trip, None, stacked, length=self.eqn.params["length"])[1], True

    def _of_trips(self, k: int, operands: Sequence[Any]) -> Any:
        """The values of a scanned argument, or of a counter, in the order in which they are scanned over."""
        if k not in self.counters:
            return operands[k]
        trips = jnp.arange(self.eqn.params["length"], dtype=jx.struct_of(self.arguments[k]).dtype)
        order = trips[::-1] if self.eqn.params["reverse"] else trips
        return operands[k] + self.counters[k] * order

    def _run(
        self, operands: Sequence[Any], known: _Known, results: Sequence[Any], *, effects: bool = False
    ) -> list[Any]:
        """The carry after the loop, and some variables of its body, stacked."""
        first, last = self.consts, self.consts + self.carry
        new = jx.outvars(self.body)[: self.carry]
        read = inputs_of(self.body, [*new, *results], {**known.always, **known.by_trip}, effects=effects)
        by_trip = {var: value for var, value in known.by_trip.items() if var in read}

        def trip(carry: list[Any], of_trip: tuple[list[Any], list[Any]]) -> tuple[list[Any], list[Any]]:
            given = known.always | dict(zip(by_trip, of_trip[1], strict=True))
            found = run(self.body, [*operands[:first], *carry, *of_trip[0]], given, [*new, *results], effects=effects)
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


def _depending(body: Any, sources: Iterable[Any]) -> Collection[Any]:
    """The variables of a body that depend on some of its arguments, these included."""
    found = set(sources)
    for eqn in jx.equations(body):
        if any(not jx.is_literal(atom) and atom in found for atom in eqn.invars):
            found.update(eqn.outvars)
    return found
