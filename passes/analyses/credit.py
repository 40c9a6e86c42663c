"""Where credit goes in one jaxpr: what depends on what with a derivative that is not zero by construction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ...coupling import Coupling
from ...coupling.primitives import Constants, equation_couplings
from ...ir import jaxpr as jx


class Credit:
    """The equations of a jaxpr, each read once, when it is first asked for."""

    def __init__(self, body: Any) -> None:
        """Prepare to answer for `body`."""
        self.equations = jx.equations(body)
        self.constants = Constants(body)
        self._couplings: dict[int, Sequence[Sequence[Coupling | None]]] = {}

    def operands(self, place: int, result: int) -> list[Any]:
        """The variables among an equation's operands on which one of its results depends."""
        eqn = self.equations[place]
        if place not in self._couplings:
            self._couplings[place] = equation_couplings(eqn, self.constants)
        row = self._couplings[place][result]
        return [atom for atom, c in zip(eqn.invars, row, strict=True) if c is not None and not jx.is_literal(atom)]

    def reached_from(self, sources: Iterable[Any]) -> set[Any]:
        """Some variables, and all that depend on them."""
        found = {var for var in sources if jx.type_of(var).carries_credit}
        for place, eqn in enumerate(self.equations):
            if any(not jx.is_literal(atom) and atom in found for atom in eqn.invars):
                pairs = enumerate(eqn.outvars)
                found.update(var for k, var in pairs if not found.isdisjoint(self.operands(place, k)))
        return found

    def leading_to(self, targets: Iterable[Any]) -> set[Any]:
        """Some variables, and all that they depend on."""
        found = {atom for atom in targets if not jx.is_literal(atom) and jx.type_of(atom).carries_credit}
        for place, eqn in reversed(list(enumerate(self.equations))):
            for k, var in enumerate(eqn.outvars):
                if var in found:
                    found.update(self.operands(place, k))
        return found
