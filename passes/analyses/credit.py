"""Where credit goes in one jaxpr: what depends on what with a derivative that is not zero by construction."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ...coupling import Coupling
from ...coupling.primitives import Constants, equation_couplings
from ...ir import jaxpr as jx

NOTHING: Mapping[Any, Any] = {}


class Credit:
    """The equations of a jaxpr, each read once, when it is first asked for."""

    def __init__(self, body: Any) -> None:
        """Prepare to answer for `body`."""
        self.equations = jx.equations(body)
        self.constants = Constants(body)
        self.maker = {var: (place, k) for place, eqn in enumerate(self.equations) for k, var in enumerate(eqn.outvars)}
        """The place of the equation that makes a variable, and which of its results it is."""
        self._couplings: dict[int, Sequence[Sequence[Coupling | None]]] = {}

    def couplings(self, place: int) -> Sequence[Sequence[Coupling | None]]:
        """How each result of an equation depends on each operand."""
        if place not in self._couplings:
            self._couplings[place] = equation_couplings(self.equations[place], self.constants)
        return self._couplings[place]

    def operands(self, place: int, result: int) -> list[Any]:
        """The variables among an equation's operands on which one of its results depends."""
        pairs = zip(self.equations[place].invars, self.couplings(place)[result], strict=True)
        return [atom for atom, c in pairs if c is not None and not jx.is_literal(atom)]

    def operands_of(self, place: int) -> list[Any]:
        """The variables among an equation's operands on which some result of it depends."""
        return [atom for k in range(len(self.equations[place].outvars)) for atom in self.operands(place, k)]

    def reached_from(
        self, sources: Iterable[Any], later: Iterable[tuple[Any, Any]] = (), apart: Collection[Any] = ()
    ) -> set[Any]:
        """Some variables, and all that depend on them by paths that meet none of those `apart`.

        `later` are pairs of a result and the argument that it becomes, for paths of more than one step.
        """
        found = {var for var in sources if jx.type_of(var).carries_credit}
        while True:
            for place, eqn in enumerate(self.equations):
                if any(not jx.is_literal(atom) and atom in found for atom in eqn.invars):
                    pairs = enumerate(eqn.outvars)
                    new = [(k, var) for k, var in pairs if var not in apart and var not in found]
                    found.update(var for k, var in new if not found.isdisjoint(self.operands(place, k)))
            arrived = {argument for result, argument in later if result in found} - found
            if not arrived:
                return found
            found |= arrived

    def leading_to(
        self, targets: Iterable[Any], earlier: Mapping[Any, Any] = NOTHING, apart: Collection[Any] = ()
    ) -> set[Any]:
        """Some variables, and all that they depend on by paths that end at those `apart`.

        `earlier` has the result that an argument was, for paths of more than one step.
        """
        found: set[Any] = set()
        pending = list(targets)
        while pending:
            atom = pending.pop()
            if jx.is_literal(atom) or atom in found or not jx.type_of(atom).carries_credit:
                continue
            found.add(atom)
            if atom in apart:
                continue
            if atom in earlier:
                pending.append(earlier[atom])
            elif atom in self.maker:
                pending += self.operands(*self.maker[atom])
        return found
