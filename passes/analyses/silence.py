"""Parameters whose every path to an output has derivative zero by construction, and the operations that see to it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ...ir import jaxpr as jx
from ...ir.dataflow import Crossing
from ...ir.loc import Loc
from .credit import Credit
from .prologue import STOPPED

_WORDS = {
    "gt": "the comparison >",
    "ge": "the comparison >=",
    "lt": "the comparison <",
    "le": "the comparison <=",
    "eq": "the comparison ==",
    "ne": "the comparison !=",
}


def find_silenced(
    body: Any, params: int, states: int, credit: Credit, constant: Collection[Any] = ()
) -> Mapping[int, tuple[Crossing, ...]]:
    """For each such parameter, by its place, the operations that end its credit on the way to the outputs.

    A parameter that no output depends on, with or without a derivative, at once or by way of states, is none. What lies
    before a `stop_gradient` is not blamed for what that says itself. Parameters that are `constant` learn nothing.
    """
    arguments, results = jx.argument_vars(body), jx.outvars(body)
    earlier = dict(zip(arguments[params : params + states], results, strict=False))
    outputs = results[states:]
    audible = credit.leading_to(outputs, earlier)
    learning = [k for k, var in enumerate(arguments[:params]) if jx.type_of(var).carries_credit and var not in constant]
    mute = [k for k in learning if arguments[k] not in audible]
    if not mute:
        return {}
    later = [(after, before) for before, after in earlier.items() if not jx.is_literal(after)]
    values = _Values(credit)
    found: dict[int, tuple[Crossing, ...]] = {}
    for k in mute:
        reached = credit.reached_from([arguments[k]], later)
        heard = values.leading_to(outputs, earlier, apart=reached)
        ends = values.crossings(reached, heard)
        ends |= values.stops(values.reached_from([arguments[k]], later), values.leading_to(outputs, earlier))
        cuts = [_described(_innermost(eqn), jx.location(eqn)) for p, eqn in enumerate(credit.equations) if p in ends]
        if cuts:
            found[k] = tuple({cut.loc or cut: cut for cut in reversed(cuts)}.values())[::-1]  # one for each place
    return found


class _Values:
    """What depends on what in a jaxpr, with a derivative or without."""

    def __init__(self, credit: Credit) -> None:
        self.equations, self.maker = credit.equations, credit.maker

    def operands(self, place: int, result: int) -> list[Any]:
        """What a result is computed from; an array without elements says nothing."""
        eqn = self.equations[place]
        read = _operands_read(eqn, result)
        atoms = (atom for k, atom in enumerate(eqn.invars) if k in read and not jx.is_literal(atom))
        return [atom for atom in atoms if 0 not in jx.shape_of(atom)]

    def reached_from(self, sources: Iterable[Any], later: Collection[tuple[Any, Any]]) -> set[Any]:
        """Some variables, and all that depend on them."""
        found = set(sources)
        while True:
            for place, eqn in enumerate(self.equations):
                pairs = enumerate(eqn.outvars)
                found.update(var for k, var in pairs if not found.isdisjoint(self.operands(place, k)))
            arrived = {argument for result, argument in later if result in found} - found
            if not arrived:
                return found
            found |= arrived

    def leading_to(
        self, targets: Iterable[Any], earlier: Mapping[Any, Any], apart: Collection[Any] | None = None
    ) -> set[Any]:
        """Some variables, and all that they depend on; with `apart`, by paths that meet none of these, and no stop."""
        found: set[Any] = set()
        pending = list(targets)
        while pending:
            atom = pending.pop()
            if jx.is_literal(atom) or atom in found or (apart is not None and atom in apart):
                continue
            found.add(atom)
            if atom in earlier:
                pending.append(earlier[atom])
            elif atom in self.maker and (apart is None or not self._is_stop(self.maker[atom][0])):
                pending += self.operands(*self.maker[atom])
        return found

    def crossings(self, near: Collection[Any], far: Collection[Any]) -> set[int]:
        """The places of equations with an operand in `near` and a result in `far`."""
        return {
            place
            for place, eqn in enumerate(self.equations)
            if any(
                var in far and any(atom in near for atom in self.operands(place, k))
                for k, var in enumerate(eqn.outvars)
            )
        }

    def stops(self, near: Collection[Any], far: Collection[Any]) -> set[int]:
        """Those of them that are `stop_gradient`."""
        return {place for place in self.crossings(near, far) if self._is_stop(place)}

    def _is_stop(self, place: int) -> bool:
        return self.equations[place].primitive.name == STOPPED


def _operands_read(eqn: Any, result: int) -> Collection[int]:
    """The places of the operands that a result of an equation is computed from."""
    everything = range(len(eqn.invars))
    if eqn.primitive.name == "cond":
        return {0, *(1 + k for branch in eqn.params["branches"] for k in _arguments_read(branch, [result]))}
    if eqn.primitive.name != "scan":
        return everything
    consts, carry, _ = jx.scan_split(eqn)
    wanted = {result}
    while True:
        read = _arguments_read(eqn.params["jaxpr"], wanted)
        through = {k - consts for k in read if consts <= k < consts + carry}
        if through <= wanted:
            return {*read, *(consts + k for k in wanted if k < carry)}
        wanted |= through


def _arguments_read(body: Any, results: Iterable[int]) -> set[int]:
    targets = [jx.outvars(body)[k] for k in results]
    needed = {a for e in jx.reaching(jx.equations(body), targets) for a in e.invars if not jx.is_literal(a)}
    needed.update(atom for atom in targets if not jx.is_literal(atom))
    return {k for k, var in enumerate(jx.argument_vars(body)) if var in needed}


def _innermost(eqn: Any) -> Any:
    """The first operation in an equation's bodies that has an operand with a derivative and none itself, or itself."""
    if eqn.primitive.name.startswith("custom_"):
        return eqn
    for body in jx.sub_jaxprs(eqn):
        credit = Credit(body)
        for place, inner in enumerate(credit.equations):
            smooth = any(not jx.is_literal(a) and jx.type_of(a).carries_credit for a in inner.invars)
            if smooth and not any(credit.operands(place, k) for k in range(len(inner.outvars))):
                return _innermost(inner)
    return eqn


def _described(eqn: Any, at: Loc | None) -> Crossing:
    name = str(eqn.primitive.name)
    operation = _WORDS.get(name, name)
    if name == "convert_element_type":
        operation = f"the cast to {eqn.params['new_dtype']}"
    elif name.startswith("custom_"):
        operation = str(eqn.params.get("name", name.removesuffix("_call")))
    return Crossing(operation=operation, why="whose derivative is zero", loc=jx.location(eqn) or at)
