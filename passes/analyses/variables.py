"""Which variables of the step region stand for what a transition names."""

from __future__ import annotations

from typing import Any, TypeAlias

from ...ir import jaxpr as jx
from ...ir.regions import STEP
from ...ir.transition import Site, State, Transition

Variables: TypeAlias = dict[State, tuple[Any, Any]]
"""For each state, the variable of its old value and the atom of its new one."""


def state_variables(transition: Transition) -> Variables:
    """For each state, the variable of its old value and the atom of its new value in the step region."""
    body, count = transition.region(STEP).body, len(transition.params)
    before = jx.argument_vars(body)[count : count + len(transition.states)]
    return dict(zip(transition.states, zip(before, jx.outvars(body), strict=False), strict=True))


def site_variable(transition: Transition, site: Site) -> Any:
    """The variable of a site's output in the step region."""
    return jx.equation(transition.region(STEP).body, site.equation).outvars[0]
