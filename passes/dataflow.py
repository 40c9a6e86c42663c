"""How credit flows through one step: which sources each value depends on, position by position, and what is held.

A *source* is an old state, the output of a site, a weight that is used outside a site, or a held value. The analysis runs
forward once. Where a value would depend on a source in a way that no positional trace can follow (an operation mixes
positions, or is not complex-differentiable), the value is *held*: it becomes a source of its own, and what fed it is noted.
So every value depends on few sources, and the cost is linear in equations.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..ir import jaxpr as jx
from ..ir.coupling import Coupling
from ..ir.transition import Crossing, Transition
from .coupling import Constants, equation_couplings
from .ingest import STEP
from .prologue import Prologue, find_prologue

SPREAD = 16
"""Couplings with more inputs an output, or outputs an input, than this are not followed."""

_NOT_HOLOMORPHIC = frozenset({"real", "imag", "conj", "abs", "sign"})

Dependences = dict[Any, Coupling]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A value that is held: the sources that fed it, and why they are not followed through it."""

    var: Any
    feeds: frozenset[Any]
    crossing: Crossing
    equation: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataflow:
    """The result for one step region; keys are the region's variables."""

    prologue: Prologue
    depends: dict[Any, Dependences]
    held: dict[Any, Held]
    readers: dict[Any, list[Held]]
    """For each source, the held values that it feeds directly."""

    def of(self, atom: Any) -> Dependences:
        """The sources that a value depends on, with how."""
        return {} if jx.is_literal(atom) else self.depends.get(atom, {})

    def reaching(self, targets: Iterable[Any]) -> set[Any]:
        """Every source from which a value among `targets` is reached, held values crossed."""
        found: set[Any] = set()
        pending = [source for atom in targets for source in self.of(atom)]
        while pending:
            source = pending.pop()
            if source not in found:
                found.add(source)
                pending += self.held[source].feeds if source in self.held else ()
        return found


_cache: weakref.WeakKeyDictionary[Any, Dataflow] = weakref.WeakKeyDictionary()


def analyse_dataflow(transition: Transition) -> Dataflow:
    """The data-flow of the transition's step region; computed once a region."""
    region = transition.region(STEP)
    if region not in _cache:
        _cache[region] = _analyse(region.body, len(transition.params), len(transition.states))
    return _cache[region]


def _analyse(body: Any, params: int, states: int) -> Dataflow:
    prologue = find_prologue(body, params)
    old_states = frozenset(jx.argument_vars(body)[params : params + states])
    depends: dict[Any, Dependences] = {
        var: {var: Coupling.identity(jx.shape_of(var))}
        for var in (*old_states, *prologue.frontier)
        if jx.type_of(var).carries_credit
    }
    held: dict[Any, Held] = {}
    constants = Constants(body)
    for place, eqn in enumerate(jx.equations(body)):
        if place in prologue.equations:
            continue
        operands = [{} if jx.is_literal(atom) else depends.get(atom, {}) for atom in eqn.invars]
        site = eqn.primitive.name == "etp"
        if site:
            operands[-1] = {}  # the weight's credit is the site's own
        if not site and not any(operands):
            continue
        for var, couplings in zip(eqn.outvars, equation_couplings(eqn, constants), strict=True):
            live = [(deps, c) for deps, c in zip(operands, couplings, strict=True) if deps and c is not None]
            if not live or jx.is_dropped(var) or not jx.type_of(var).carries_credit:
                continue
            crossing = _not_holomorphic(eqn, var, live, old_states)
            depends[var] = {} if crossing else _combine(live)
            if crossing or any(is_spread(coupling) for coupling in depends[var].values()):
                crossing = crossing or Crossing(operation=describe(eqn), why="mixes positions", loc=jx.location(eqn))
                feeds = frozenset(source for deps, _ in live for source in deps)
                held[var] = Held(var=var, feeds=feeds, crossing=crossing, equation=place)
                depends[var] = {var: Coupling.identity(jx.shape_of(var))}
        if site:
            for var in eqn.outvars:
                depends[var] = {**depends.get(var, {}), var: Coupling.identity(jx.shape_of(var))}
    readers: dict[Any, list[Held]] = {}
    for item in held.values():
        for source in item.feeds:
            readers.setdefault(source, []).append(item)
    return Dataflow(prologue=prologue, depends=depends, held=held, readers=readers)


def _combine(live: list[tuple[Dependences, Coupling]]) -> Dependences:
    if len(live) == 1 and live[0][1].is_identity:
        return live[0][0]
    result: Dependences = {}
    for source, coupling in _composed(live):
        known = result.get(source)
        result[source] = coupling if known is None or known is coupling else known.join(coupling)
    return result


def _composed(live: list[tuple[Dependences, Coupling]]) -> Iterator[tuple[Any, Coupling]]:
    for deps, outer in live:
        for source, inner in deps.items():
            composed = inner if outer.is_identity else outer.compose(inner)
            if composed is not None:
                yield source, composed


def is_spread(coupling: Coupling) -> bool:
    """Whether a position feeds, or is fed by, more positions than a trace can follow."""
    return coupling.mixes or coupling.fan_in > SPREAD or coupling.fan_out > SPREAD


def _not_holomorphic(
    eqn: Any, var: Any, live: list[tuple[Dependences, Coupling]], old_states: frozenset[Any]
) -> Crossing | None:
    """Why a result is not complex-differentiable in its sources, so that one complex factor cannot say how it depends.

    A real site that feeds a complex value is fine (its factor is taken in two parts); a real state is not.
    """
    name = eqn.primitive.name
    sources = [source for deps, _ in live for source in deps]
    from_complex = any(jx.type_of(source).is_complex for source in sources)
    to_complex = jx.type_of(var).is_complex
    real_state = any(source in old_states and not jx.type_of(source).is_complex for source in sources)
    if (from_complex and (name in _NOT_HOLOMORPHIC or not to_complex)) or (to_complex and real_state):
        return Crossing(operation=name, why="is not complex-differentiable", loc=jx.location(eqn))
    return None


def describe(eqn: Any) -> str:
    """What an equation is called in the user's source, as far as that can be told."""
    name = eqn.primitive.name
    if name == "etp":
        return {"dot": "etir.matmul", "identity": "etir.bias"}.get(eqn.params["name"], f"etir.{eqn.params['name']}")
    if name in ("custom_jvp_call", "custom_vjp_call"):
        return str(eqn.params.get("name", name))
    return {"dot_general": "matmul"}.get(name, name)
