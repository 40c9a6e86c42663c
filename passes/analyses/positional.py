"""Which contractions read a positional trace that is the derivative, and what they are read with."""

from __future__ import annotations

from typing import Any

from ...ir.plan import Advance, Contract, Credit, Diagonal, Jacobian, LossSignal, Neighbourhood, Outer, Sensitivity
from ...ir.regions import EXIT
from ...ir.transition import Group, Site, State, Transition
from ...ir.values import Value
from .provenance import Provenance


class PositionalTraces:
    """The pattern `E' = D E + f (x) x`, read as `<h_bar, E>`."""

    def __init__(self, transition: Transition, provenance: Provenance) -> None:
        """Prepare for the values of one plan."""
        self.transition, self.made = transition, provenance

    def followed(self, op: Contract) -> tuple[int, ...] | None:
        """The followed states of a trace that `E' = D E + f (x) x` advances; None where `D`, `f` or `x` is another."""
        a, group = op.association, op.association.group
        traces = [t for t in map(self.made.trace_of.get, op.trace) if t is not None and t.start is None]
        advance = self.made.maker.get(traces[0].after) if traces else None
        before, after = tuple(t.before for t in traces), tuple(t.after for t in traces)
        if type(advance) is not Advance or not op.trace == advance.trace == before or advance.results != after:
            return None
        add, by = advance.add, advance.by
        if type(add) is not Outer or add.association is not a or add.data is not a.site.data or add.reach != op.reach:
            return None
        states = self._followed(add, op)
        if states is None or getattr(by, "association", None) is not a or getattr(by, "reach", None) != op.reach:
            return None
        factors = self._jacobian_factors(by, group, states)
        return states if factors else None

    def _followed(self, add: Outer, op: Contract) -> tuple[int, ...] | None:
        """Which state each array of a trace is of, by the sensitivity that drives it, or else by its cotangent."""
        found: list[int] = []
        for k, factor in enumerate(add.factors):
            made = self.made.maker.get(factor) if factor is not None else None
            if made is not None:
                if type(made) is not Sensitivity or made.association is not op.association:
                    return None
                found.append(made.states[made.results.index(factor)])  # pyright: ignore[reportArgumentType]
            else:
                state = self.state_of(op.cotangents[k], op.association.group)
                if factor is not None or state is None:
                    return None
                found.append(state)
        fed = {k for k, c in enumerate(op.association.couplings) if c is not None}
        driven = {k for k, factor in zip(found, add.factors, strict=True) if factor is not None}
        return tuple(found) if driven == fed and len(set(found)) == len(found) else None

    def state_of(self, cotangent: Value, group: Group) -> int | None:
        """The place in its group of the state that a cotangent or an exit signal is of."""
        if cotangent in self.made.entering:
            state = self.transition.hidden[self.made.entering.index(cotangent)]
            return group.states.index(state) if state in group.states else None
        state = self.loss_credit(cotangent)
        return group.states.index(state) if isinstance(state, State) and state in group.states else None

    def loss_credit(self, value: Value) -> State | Site | None:
        """The old state, or the site, that a value is the cotangent of as the loss of the step sends it back."""
        made, t = self.made.maker.get(value), self.transition
        if type(made) is not Credit or made.region != EXIT or not made.cotangents:
            return None
        loss = self.made.maker.get(made.cotangents[0]) if made.cotangents[0] is not None else None
        if type(loss) is not LossSignal or made.cotangents != loss.results:
            return None
        return (*t.hidden, *t.sites)[made.results.index(value)]

    def _jacobian_factors(self, by: Any, group: Group, states: tuple[int, ...]) -> bool:
        """Whether a transfer has every entry of the group's Jacobian among the followed states, and nothing else."""
        whole = type(by) is Neighbourhood
        if not whole and (type(by) is not Diagonal or by.at_output):
            return False
        wanted = {
            (i, j)
            for i, of in enumerate(group.states)
            for j, on in enumerate(group.states)
            if j in states and (c := group.dependence(of, on)) is not None and (whole or c.has_diagonal)
        }
        found: set[tuple[int, int]] = set()
        for n, ((i, j), value) in enumerate(zip(by.pairs, by.factors, strict=True)):
            made, pair = self.made.maker.get(value), (states[i], states[j])
            if type(made) is not Jacobian or made.group is not group or made.whole != whole:
                return False
            if made.pairs[made.results.index(value)] != pair or pair in found:
                return False
            if whole and by.couplings[n] != group.dependence(group.states[pair[0]], group.states[pair[1]]):
                return False
            found.add(pair)
        return found == wanted

    def is_of_loss(self, value: Value) -> bool:
        """Whether a cotangent is one that the loss of its step, and nothing else, sends back."""
        made = self.made.maker.get(value)
        ends = [self.made.maker.get(c) for c in made.cotangents if c is not None] if type(made) is Credit else []
        return bool(ends) and all(type(end) is LossSignal for end in ends)
