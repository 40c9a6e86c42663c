"""What is kept of a step for the way back: values one by one, and many like units' as one array."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ...ir import jaxpr as jx
from ...ir.regions import variables_of
from ...ir.transition import Region
from ...ir.values import Value
from ..calls import Calls
from ..shared import Parts, Shared
from .expressions import ZERO, Expressions, repeated
from .family import Family
from .rows import Kept
from .tape import Numbers
from .traced import Given


class Keeping:
    """The variables of a region that are kept: those which a family's derivatives are taken at lie together.

    So the way back reads one array for all units, and what it makes of that does not grow with their number.
    """

    def __init__(self, region: Region, kept: Sequence[Any], families: Sequence[Family], numbers: Numbers) -> None:
        """Sort the variables `kept`."""
        self.body = region.body
        self.kept = frozenset(kept)
        self.numbers = numbers
        self.variable_of = variables_of(region)
        self.producers = jx.Producers(self.body)
        self.shifts = frozenset(jx.argument_vars(self.body))
        self.together: dict[tuple[Value, ...], tuple[Any, ...]] = {}
        """For the values of many units the variables that are kept for them."""
        for family in families:
            for values in family.operands.values():
                self._add(values)
        together = {var for of in self.together.values() for var in of}
        self.alone = [var for var in kept if var not in together]

    def _add(self, values: tuple[Value, ...]) -> None:
        variables = tuple(self._kept_for(value) for value in values)
        others = {var for of in self.together.values() for var in of}
        if None not in variables and len(set(variables)) == len(variables) and others.isdisjoint(variables):
            self.together[values] = variables

    def _kept_for(self, value: Value) -> Any:
        """The variable that is kept and has a value: its own, or that of a site's output without its shift of zeros."""
        variable = self.variable_of.get(value)
        if variable in self.kept or variable is None or jx.is_literal(variable):
            return variable if variable in self.kept else None
        eqn = self.producers.producer(variable)
        if eqn is None or eqn.primitive.name != "add" or eqn.invars[1] not in self.shifts:
            return None
        return eqn.invars[0] if eqn.invars[0] in self.kept else None

    def packed(self, values: Mapping[Any, Any]) -> tuple[list[Any], list[Parts]]:
        """What is kept of the values of all variables: alone, and together."""
        return [values[var] for var in self.alone], [Parts([values[v] for v in of]) for of in self.together.values()]

    def unpacked(self, alone: Sequence[Any], together: Sequence[Any]) -> dict[Any, Any]:
        """The values that are kept, by variable."""
        found = dict(zip(self.alone, alone, strict=True))
        for variables, whole in zip(self.together.values(), together, strict=True):
            found |= dict(zip(variables, self.numbers.apart(whole, len(variables)), strict=True))
        return found

    def again(self, ahead: int, kept: Shared[Kept], calls: Calls, weights: Sequence[Any]) -> Callable[[Any], Given]:
        """Says of a jaxpr which variables hold what is kept alone, each with the argument that has it already.

        The arguments are `ahead` others, what is `kept`, the inputs of a step, and others again.
        """
        numbers, transition = Expressions(), calls.transition
        of_weights = [numbers.thing(w) for w in weights]
        states = [numbers.leaf("state", k) for k, _ in enumerate(transition.states)]
        inputs = [numbers.leaf("input", k) for k, _ in enumerate(transition.inputs)]
        of_sites = [of_weights[k] for k in calls.site_weights]
        region = numbers.of(self.body, [*of_weights, *states, *inputs, *of_sites, *[ZERO] * len(transition.sites)])
        others: list[Any] = [np.asarray(numbers.leaf("bar", k)) for k, _ in enumerate(kept.tree.bars)]
        together = [np.asarray(numbers.leaf("together", k)) for k, _ in enumerate(self.together)]
        named = Kept([np.asarray(region[var]) for var in self.alone], together, others)
        own = [*[int(n) for n in jax.tree.leaves(kept.alike(named))], *inputs]

        def given(jaxpr: Any) -> Given:
            arguments = jx.argument_vars(jaxpr)
            others = [numbers.leaf("other", k) for k, _ in enumerate(arguments)]
            found = numbers.of(jaxpr, [*others[:ahead], *own, *others[ahead + len(own) :]])
            return repeated(found, jaxpr, arguments[ahead : ahead + len(own)])

        return given
