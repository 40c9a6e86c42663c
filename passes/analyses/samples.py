"""Whether the samples of a batch meet: what each value of a step depends on along the first axis of the states."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from ...coupling import Coupling
from ...coupling.primitives import Constants, equation_couplings
from ...ir import jaxpr as jx
from ...ir.regions import STEP
from ...ir.transition import Site, Transition
from .variables import site_variable, state_variables

Axes = Mapping[Any, "int | None"]
"""For each source that a value depends on, the axis along which it keeps the source's samples apart; None for none."""


class Samples:
    """The step read once, nothing held: where index `b` of a source reaches index `b` alone."""

    def __init__(self, transition: Transition) -> None:
        """Prepare to answer for a transition whose sites are marked."""
        self.transition = transition

    def apart(self, site: Site) -> bool:
        """Whether the first axis of a site's output and of every hidden state counts samples that never meet.

        Then a state's new value at index `b` depends on old states and on this site's output at index `b` alone,
        through any operation. Errs on the safe side.
        """
        t = self.transition
        shapes = [state.before.type.shape for state in t.hidden]
        first = {shape[:1] for shape in (site.output.type.shape, *shapes)}
        if len(first) != 1 or first == {()} or not site.expression.output:
            return False
        variables = state_variables(t)
        sources = {site_variable(t, site), *(variables[state][0] for state in t.hidden)}
        found = [
            self._axes.get(variables[state][1], {}) for state in t.hidden if not jx.is_literal(variables[state][1])
        ]
        return all(axes.get(source, 0) == 0 for axes in found for source in sources)

    @cached_property
    def _axes(self) -> dict[Any, Axes]:
        t, body = self.transition, self.transition.region(STEP).body
        variables, constants = state_variables(t), Constants(body)
        outputs = {site_variable(t, site) for site in t.sites}
        known: dict[Any, Axes] = {variables[state][0]: {variables[state][0]: 0} for state in t.hidden}
        for eqn in jx.equations(body):
            operands = [{} if jx.is_literal(atom) else known.get(atom, {}) for atom in eqn.invars]
            if any(operands):
                for var, row in zip(eqn.outvars, equation_couplings(eqn, constants), strict=True):
                    live = [(axes, c) for axes, c in zip(operands, row, strict=True) if axes and c is not None]
                    if live and not jx.is_dropped(var):
                        known[var] = _joined(live)
            for var in eqn.outvars:
                if var in outputs:
                    known[var] = {**known.get(var, {}), var: 0 if jx.shape_of(var) else None}
        return known


def _joined(live: Iterable[tuple[Axes, Coupling]]) -> Axes:
    """What a result depends on; a source that comes to two of its axes is kept apart along neither."""
    found: dict[Any, int | None] = {}
    for axes, coupling in live:
        moved = {axis: _moved(axis, coupling) for axis in {a for a in axes.values() if a is not None}}
        for source, axis in axes.items():
            new = None if axis is None else moved[axis]
            found[source] = new if found.get(source, new) == new else None
    return found


def _moved(axis: int, coupling: Coupling) -> int | None:
    """The axis of a result at whose index `b` only index `b` of an operand's `axis` counts; the first such axis."""
    size = coupling.in_shape[axis]
    for out, length in enumerate(coupling.out_shape):
        if length == size:
            tied = Coupling.matched(coupling.in_shape, coupling.out_shape, [(axis, out)])
            if coupling.join(tied) == tied:
                return out
    return None
