"""Values that a step rounds to less than its states hold, where a trace would carry the derivative through.

JAX rounds derivatives with them: back-propagation rounds the whole cotangent, a trace each step's own factor, and the
product of the rounded is not the rounded product.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.dataflow import Dataflow
from ...ir.regions import STEP
from ...ir.transition import Reason, State, Transition
from .credit import Credit
from .variables import state_variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How finely a number is kept: its bits of mantissa and of exponent."""

    mantissa: int
    exponent: int

    @classmethod
    def of(cls, dtype: Any) -> Precision:
        """That of an element type."""
        found = jnp.finfo(dtype)
        return cls(mantissa=found.nmant, exponent=found.nexp)

    def is_less_than(self, other: Precision) -> bool:
        """Whether something that `other` tells apart is lost."""
        return self.mantissa < other.mantissa or self.exponent < other.exponent


class Roundings:
    """The equations of one step that round, asked about what credit comes through."""

    def __init__(self, transition: Transition, flow: Dataflow, read: Sequence[State]) -> None:
        """Prepare for the hidden states that are `read`; those that no output depends on count for nothing."""
        self.body, self.flow, self.read = transition.region(STEP).body, flow, read
        self.variables = state_variables(transition)

    def of(self, sources: Iterable[Any], *, held: bool) -> tuple[Reason, ...]:
        """What is rounded on the way from some variables to hidden states, now or later.

        Paths through what the data-flow holds count only where a trace carries what is `held` as well.
        """
        if not self._places:
            return ()
        apart = () if held else self.flow.held
        reached = self._credit.reached_from(sources, self._later, apart)
        leading = {s: self._credit.leading_to([self.variables[s][1]], apart=apart) for s in self.read}
        found: list[Reason] = []
        for place in self._places:
            passed = not reached.isdisjoint(self._credit.operands_of(place))
            eqn = self._credit.equations[place]
            for name, to in _rounded(eqn) if passed else ():
                coarse = [
                    s for s in self.read if to.is_less_than(_precision(s)) and not leading[s].isdisjoint(eqn.outvars)
                ]
                if not coarse:
                    continue
                reason = self._reason(place, name, coarse)
                if not (_widens(eqn) and any(other.text == reason.text for other in found)):
                    found.append(reason)
        return tuple(dict.fromkeys(found))

    def _reason(self, place: int, name: str, states: Sequence[State]) -> Reason:
        names = " and ".join(f"'{state.path}'" for state in states)
        return Reason(
            text=f"derivatives are rounded to {name} on the way to {names}, and equal BPTT's to that precision only",
            loc=jx.location(self._credit.equations[place]),
        )

    @cached_property
    def _credit(self) -> Credit:
        return Credit(self.body)

    @cached_property
    def _later(self) -> list[tuple[Any, Any]]:
        return [(after, before) for before, after in self.variables.values() if not jx.is_literal(after)]

    @cached_property
    def _places(self) -> list[int]:
        """The equations that round to less than some state holds."""
        kept = {_precision(state) for state in self.read}
        return [
            place
            for place, eqn in enumerate(jx.equations(self.body))
            if any(to.is_less_than(own) for _, to in _rounded(eqn) for own in kept)
        ]


def _precision(state: State) -> Precision:
    return Precision.of(state.before.type.dtype)


def _rounded(eqn: Any) -> Iterator[tuple[str, Precision]]:
    """To what an equation, or one in its bodies, rounds a value or its cotangent: its name, and how fine it is."""
    if eqn.primitive.name == "reduce_precision":
        to = Precision(mantissa=eqn.params["mantissa_bits"], exponent=eqn.params["exponent_bits"])
        yield f"{to.mantissa} bits of mantissa", to
    elif eqn.primitive.name == "convert_element_type":
        before, after = jx.type_of(eqn.invars[0]), jx.type_of(eqn.outvars[0])
        if before.carries_credit and after.carries_credit:
            to = [Precision.of(kind.dtype) for kind in (before, after)]
            if to[1].is_less_than(to[0]):
                yield after.dtype, to[1]
            elif to[0].is_less_than(to[1]):
                yield before.dtype, to[0]
    for body in jx.sub_jaxprs(eqn):
        for inner in jx.equations(body):
            yield from _rounded(inner)


def _widens(eqn: Any) -> bool:
    """Whether an equation is a cast to more bits, of what may have been cast to less before."""
    if eqn.primitive.name != "convert_element_type":
        return False
    before, after = (Precision.of(jx.dtype_of(atom)) for atom in (eqn.invars[0], eqn.outvars[0]))
    return before.is_less_than(after)
