"""How credit flows through one step: which sources each value depends on, position by position, and what is held.

A *source* is an old state, the output of a site, a weight that is used outside a site, or a held value. The analysis
runs forward once. Where a value would depend on a source in a way that no positional trace can follow (an operation
mixes positions, or is not complex-differentiable), the value is *held*: it becomes a source of its own, and what fed
it is noted. So every value depends on few sources, and the cost is linear in equations.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from ...coupling import Coupling
from ...coupling.limits import COLOURS, SPREAD
from ...ir import jaxpr as jx
from ...ir.dataflow import HIDDEN, OPEN, Crossing, Dataflow, Dependences, Held, Prologue
from ...ir.operations.call import WEIGHT_OPERATIONS, body_of, is_unfolding
from ...ir.regions import STEP
from ...ir.tails import Tail
from ...ir.transition import Transition
from .credit import Credit
from .derivatives import refuse_nonlinear_rules
from .prologue import find_prologue
from .reverse_mode import refuse_without_reverse_mode
from .silence import find_silenced
from .tails import Tails

Live: TypeAlias = list[tuple[Any, Dependences, Coupling]]
"""An equation's operands that credit flows from, each with what it depends on, and how a result depends on it."""

_NAMES = {"dot": "etir.matmul", "product": "matmul", "identity": "etir.bias"} | {
    name: f"etir.{name}" for name in ("conv", "einsum", "embed", "scale")
}
"""What our own ETP operations are called in the user's source."""

_PICKS = frozenset({"dynamic_slice", "gather"})
"""What picks positions and adds none up, whatever it picks them by."""

HIDING = "call_hi_primitive"
"""The primitive that JAX, as of 0.12, binds for what has a class of its own, whose body cannot be seen."""
_NOT_HOLOMORPHIC = frozenset({"real", "imag", "conj", "abs", "sign"})


def analyse_dataflow(transition: Transition, scope: str = HIDDEN) -> Dataflow:
    """The data-flow of the transition's step region: its own for the scope, or where it has none, one computed now.

    In the scope `open` no operation is held for how it couples positions. Raises EtirError where credit passes through
    a backward rule that is no derivative.
    """
    known = transition.flow if scope == HIDDEN else transition.open.flow if transition.open is not None else None
    if known is not None:
        return known
    return _analyse(transition, scope)


def _analyse(transition: Transition, scope: str) -> Dataflow:
    body, params, states = transition.region(STEP).body, len(transition.params), len(transition.states)
    prologue = find_prologue(body, params, transition.frozen_places)
    credit = Credit(body)
    refuse_without_reverse_mode(body, params, states, credit, prologue.frozen)
    refuse_nonlinear_rules(body, params, states, prologue)
    old_states = [v for v in jx.argument_vars(body)[params : params + states] if jx.type_of(v).carries_credit]
    walk = walked(credit, prologue, old_states, mixing=scope == OPEN)
    return Dataflow(
        body=body,
        params=params,
        states=states,
        prologue=prologue,
        depends=walk.depends,
        held=walk.held,
        readers=walk.readers(),
        tails=walk.tails(),
        silenced=find_silenced(body, params, states, credit, prologue.frozen),
        scope=scope,
    )


def walked(credit: Credit, prologue: Prologue, sources: list[Any], *, mixing: bool = False) -> Walk:
    """The walk over a jaxpr from some of its arguments, and sites, in which nothing more is to be held.

    Where an operand alone is what makes a result spread (the mean in `y - mean(y)`), the operand is what should be
    held: it is noted as a culprit, and the run is made again with it held, so that every reader sees the same.
    """
    must_hold: dict[Any, Crossing] = {}
    while True:
        walk = Walk(credit, prologue, sources, must_hold, mixing=mixing)
        walk.run()
        if not walk.culprits:
            return walk
        must_hold |= walk.culprits


class Walk:
    """One forward run over the equations, with some values held from the start.

    With `mixing`, operations that mix positions are followed.
    """

    def __init__(
        self, credit: Credit, prologue: Prologue, old_states: list[Any], must_hold: dict[Any, Crossing], *, mixing: bool
    ) -> None:
        self.prologue, self.must_hold, self.credit, self.mixing = prologue, must_hold, credit, mixing
        self.followed = set(old_states)
        weights = [var for var in prologue.frontier if prologue.learns(var) and jx.type_of(var).carries_credit]
        self.identity = functools.cache(Coupling.identity)  # one object a shape, so that sources share it
        self.depends: dict[Any, Dependences] = {
            var: {var: self.identity(jx.shape_of(var))} for var in (*old_states, *weights)
        }
        self.held: dict[Any, Held] = {}
        self.summed: dict[Any, frozenset[Any]] = {}
        """For a value the sources that it depends on through a sum over positions."""
        self.culprits: dict[Any, Crossing] = {}
        self.composed: dict[tuple[Coupling, Coupling], Coupling | None] = {}
        """What has been composed: layers that are alike couple alike."""

    def run(self) -> None:
        """Visit every equation that is of no weight's prologue."""
        for place, eqn in enumerate(self.credit.equations):
            if place not in self.prologue.equations:
                self._visit(place, eqn)

    def readers(self) -> dict[Any, list[Held]]:
        """For each source, the held values that it feeds directly."""
        readers: dict[Any, list[Held]] = {}
        for item in self.held.values():
            for source in item.feeds:
                readers.setdefault(source, []).append(item)
        return readers

    def tails(self) -> dict[int, list[Tail]]:
        """By the place of an equation, what it reads of held values position by position."""
        found: dict[int, list[Tail]] = {}
        known = (self.depends, self.summed, self.followed, self.held, self.must_hold)
        for tail in Tails(self.credit, self.prologue, *known).found():
            found.setdefault(tail.reader, []).append(tail)
        return found

    def _visit(self, place: int, eqn: Any) -> None:
        operands = [{} if jx.is_literal(atom) else self.depends.get(atom, {}) for atom in eqn.invars]
        site = eqn.primitive.name == "etp"
        if site:
            operands[-1] = {}  # the weight's credit is the site's own
        if any(operands):
            for var, couplings in zip(eqn.outvars, self.credit.couplings(place), strict=True):
                live = [
                    (atom, deps, c)
                    for atom, deps, c in zip(eqn.invars, operands, couplings, strict=True)
                    if deps and c is not None
                ]
                if live and not jx.is_dropped(var) and jx.type_of(var).carries_credit:
                    self._flow(place, eqn, var, live)
        if site:
            (var,) = eqn.outvars
            self.followed.add(var)
            self.depends[var] = {**self.depends.get(var, {}), var: self.identity(jx.shape_of(var))}

    def _flow(self, place: int, eqn: Any, var: Any, live: Live) -> None:
        """Record what one result depends on, or that it is held."""
        pairs = [(deps, coupling) for _, deps, coupling in live]
        crossing = _not_holomorphic(eqn, var, pairs, self.followed) or self.must_hold.get(var)
        self.depends[var] = {} if crossing else self._combine(pairs)
        if summed := self._summed(eqn, live):
            self.summed[var] = summed
        if crossing is None and not is_unfolding(eqn) and self._spreads(eqn, var, live):
            crossing = self._repeated(live) or Crossing(
                operation=describe(eqn), why="mixes positions", loc=jx.location(eqn)
            )
            blamed = self._blame(eqn, live, crossing)
            if blamed:
                kept = [(deps, coupling) for atom, deps, coupling in live if atom not in blamed]
                self.depends[var] = self._combine(kept)
                self.summed[var] = self._summed(eqn, [item for item in live if item[0] not in blamed])
                return
        if crossing is not None:
            feeds = frozenset(source for deps, _ in pairs for source in deps)
            self.held[var] = Held(var=var, feeds=feeds, crossing=crossing, equation=place)
            self.depends[var] = {var: self.identity(jx.shape_of(var))}
            self.summed.pop(var, None)

    def _summed(self, eqn: Any, live: Live) -> frozenset[Any]:
        """The sources that an equation's operands depend on through a sum, before it or by it.

        What goes from trip to trip of a loop over layers is no sum over layers, and a slot that is picked by a counter
        is no sum over slots.
        """
        if self.mixing:
            return frozenset()
        trips = _trips(eqn)
        found = [self.summed[atom] for atom, _, _ in live if atom in self.summed]
        if eqn.primitive.name in _PICKS:
            return frozenset().union(*found)
        found += [frozenset(deps) for a, deps, c in live if not c.is_identity and c.fan_in > trips.get(a, 1)]
        return frozenset().union(*found) if found else frozenset()

    def _blame(self, eqn: Any, live: Live, crossing: Crossing) -> list[Any]:
        """Note the operands that alone make a result spread, where others do not; those operands.

        Not where the operation itself is what spreads them: it may have other results, which it spreads no operand in.
        """
        through = self._through(eqn, live)
        wide = self._wide_sums(through)
        spread = [
            a for a, deps, c in live if (a in wide or self._is_spread(*through[a])) and a not in deps and not c.mixes
        ]
        clean = [
            atom
            for atom, (found, summed) in through.items()
            if atom not in spread and not self._is_spread(found, summed) and not self.followed.isdisjoint(found)
        ]
        outer = {atom: coupling for atom, _, coupling in live}
        apart = {atom: self._apart(atom, outer[atom]) for atom in spread}
        if not spread or not (clean or all(apart.values())):
            return []
        self.culprits.update({p: self._origin(p) or crossing for atom, of in apart.items() for p in of or [atom]})
        return spread

    def _through(self, eqn: Any, live: Live) -> dict[Any, tuple[Dependences, frozenset[Any]]]:
        """What a result depends on by each operand, and on which of that through a sum."""
        return {item[0]: (self._combine([item[1:]]), self._summed(eqn, [item])) for item in live}

    def _spreads(self, eqn: Any, var: Any, live: Live) -> bool:
        summed = self.summed.get(var, frozenset())
        if self._is_spread(self.depends[var], summed):
            return True
        return bool(summed) and len(live) > 1 and bool(self._wide_sums(self._through(eqn, live)))

    def _wide_sums(self, through: Mapping[Any, tuple[Dependences, frozenset[Any]]]) -> set[Any]:
        """The operands that repeat sums, over more than a few positions, of what another has position by position.

        The mean of a group is one where the group has axes of its own: no axis of what it sums feeds all of another.
        """
        wide = {
            atom: {s for s, c in deps.items() if s in summed and s in self.followed and c.repeats and c.fan_in > SPREAD}
            for atom, (deps, summed) in through.items()
        }
        each = [(deps.keys() & self.followed) - wide[atom] for atom, (deps, _) in through.items()]
        narrow = set[Any]().union(*each)
        return {atom for atom, of in wide.items() if not of.isdisjoint(narrow)}

    def _apart(self, atom: Any, outer: Coupling) -> list[Any]:
        """Of what a spread value is made of, as a sum is, that which alone makes it spread; none where all does.

        Only after positions were summed up: what is summed is read elsewhere too, and may have sums of its own.
        """
        if atom in self.followed or atom not in self.credit.maker:
            return []
        place, result = self.credit.maker[atom]
        parts: dict[Any, Coupling | None] = {}
        for operand, c in zip(self.credit.equations[place].invars, self.credit.couplings(place)[result], strict=True):
            if c is not None and not jx.is_literal(operand) and self.depends.get(operand):
                parts[operand] = None if c.mixes or c.fan_in > 1 else self._compose(outer, c)
        through = {part: self._combine([(self.depends[part], c)]) for part, c in parts.items() if c is not None}
        if len(through) < len(parts):
            return []
        spread = [a for a, deps in through.items() if self._is_spread(deps, self.summed.get(a, frozenset()))]
        found = {a: self._apart(a, c) for a in spread if (c := parts[a]) is not None}
        if any(a not in spread and not self.followed.isdisjoint(deps) for a, deps in through.items()):
            return [part for a, inner in found.items() for part in inner or [a]]
        return [part for inner in found.values() for part in inner] if all(found.values()) else []

    def _repeated(self, live: Live) -> Crossing | None:
        """What summed up the positions of the one operand that a result repeats; None where it does something else."""
        (atom, _, coupling), *others = live
        return None if others or coupling.fan_in > 1 else self._origin(atom)

    def _origin(self, var: Any) -> Crossing | None:
        """The operation that summed the positions up that `var` then spreads: the nearest one before it."""
        while var not in self.followed and var in self.credit.maker:
            place, result = self.credit.maker[var]
            found = self.credit.equations[place]
            flowing = [
                (atom, c)
                for atom, c in zip(found.invars, self.credit.couplings(place)[result], strict=True)
                if c is not None and not jx.is_literal(atom) and self.depends.get(atom)
            ]
            if any(c.fan_in > 1 for _, c in flowing):
                return Crossing(operation=describe(found), why="mixes positions", loc=jx.location(found))
            if len(flowing) != 1:
                return None
            var = flowing[0][0]
        return None

    def _combine(self, live: list[tuple[Dependences, Coupling]]) -> Dependences:
        """The dependences of a result; sources that are not followed (held values, weights) count by presence alone."""
        if len(live) == 1 and live[0][1].is_identity:
            return live[0][0]
        result: Dependences = {}
        for source, coupling in self._composed(live):
            known = result.get(source)
            joins = known is not None and known is not coupling and source in self.followed
            result[source] = known.join(coupling) if known is not None and joins else coupling
        return result

    def _composed(self, live: list[tuple[Dependences, Coupling]]) -> Iterator[tuple[Any, Coupling]]:
        """Sources and how they are reached."""
        for deps, outer in live:
            known: dict[int, Coupling | None] = {}
            for source, inner in deps.items():
                if outer.is_identity or source not in self.followed:
                    yield source, inner
                    continue
                if id(inner) not in known:
                    known[id(inner)] = self._compose(outer, inner)
                composed = known[id(inner)]
                if composed is not None:
                    yield source, composed

    def _compose(self, outer: Coupling, inner: Coupling) -> Coupling | None:
        if (outer, inner) not in self.composed:
            self.composed[outer, inner] = outer.compose(inner)
        return self.composed[outer, inner]

    def _is_spread(self, dependences: Dependences, summed: frozenset[Any]) -> bool:
        if self.mixing:
            return False
        followed = {(id(c), source in summed): c for source, c in dependences.items() if source in self.followed}
        return any(is_spread(coupling, through_sum) for (_, through_sum), coupling in followed.items())


def _trips(eqn: Any) -> dict[Any, int]:
    """For the operands that a `scan` takes one slice a trip of, in how many trips."""
    if eqn.primitive.name != "scan":
        return {}
    slices = jx.scan_split(eqn)[2]
    return {
        atom: int(eqn.params["length"]) for atom in eqn.invars[len(eqn.invars) - slices :] if not jx.is_literal(atom)
    }


def is_spread(coupling: Coupling, summed: bool) -> bool:
    """Whether an input position feeds more output positions than a trace can follow.

    A sum over inputs is no spread, nor is it one that an input is repeated; a sum that is repeated is one at any size.
    Where positions only move and meet one by one (states that are packed into one array), few may feed few.
    """
    if coupling.is_identity:
        return False
    if coupling.spread > SPREAD or (summed and coupling.mixes):
        return True
    return coupling.colours(limit=COLOURS, repeats=False) is None


def _not_holomorphic(
    eqn: Any, var: Any, live: list[tuple[Dependences, Coupling]], followed: set[Any]
) -> Crossing | None:
    """Why a result is not complex-differentiable in its sources, so that one complex factor cannot say how it depends.

    A real site or state that feeds a complex value is fine: its factor is taken in two parts.
    """
    name = eqn.primitive.name
    sources = [source for deps, _ in live for source in deps if source in followed]
    from_complex = any(jx.type_of(source).is_complex for source in sources)
    to_complex = jx.type_of(var).is_complex
    if from_complex and (not to_complex or _conjugates(eqn)):
        return Crossing(operation=name, why="is not complex-differentiable", loc=jx.location(eqn))
    return None


def _conjugates(eqn: Any) -> bool:
    """Whether an operation on complex values, or one in its body, is (or may be) not complex-differentiable."""
    if not any(jx.type_of(atom).is_complex for atom in eqn.invars):
        return False
    if eqn.primitive.name.startswith(("custom_jvp", "custom_vjp")):
        return True
    bodies = [body_of(eqn)] if eqn.primitive.name == "etp_call" else list(jx.sub_jaxprs(eqn))
    if bodies:
        return any(_conjugates(inner) for body in bodies for inner in jx.equations(body))
    results = (jx.type_of(var) for var in eqn.outvars)
    return eqn.primitive.name in _NOT_HOLOMORPHIC or any(t.carries_credit and not t.is_complex for t in results)


def describe(eqn: Any) -> str:
    """What an equation is called in the user's source, as far as that can be told."""
    name = eqn.primitive.name
    if name in WEIGHT_OPERATIONS:
        operation = str(eqn.params["name"] if name == "etp" else eqn.params["operation"].name)
        return _NAMES.get(operation, operation)
    if name in ("custom_jvp_call", "custom_vjp_call"):
        return str(eqn.params.get("name", name))
    if name == HIDING:
        return type(next(iter(eqn.params.values()))).__name__
    return "matmul" if name == "dot_general" else name
