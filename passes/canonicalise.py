"""canonicalise: calls inlined, dead equations gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..ir import jaxpr as jx
from ..ir.draft import Draft
from ..ir.regions import STEP, make_region, with_regions
from ..ir.transition import Transition
from .base import Pass


@dataclass(frozen=True)
class Canonicalise(Pass):
    """Enter `jit` and `remat`, and drop equations that no result needs; derivative rules stay as they are.

    Before: `%y = jit[jaxpr={ %y = tanh %x }] %x`.  After: `%y = tanh %x`.
    """

    name: ClassVar[str] = "canonicalise"

    def run(self, transition: Transition) -> Transition:
        """The transition with a canonical `step` region."""
        region = transition.region(STEP)
        if is_canonical(region.body):
            return transition
        body = without_dead_equations(without_calls(region.body))
        return with_regions(transition, make_region(STEP, body, region.inputs, region.outputs))


def is_canonical(body: Any) -> bool:
    """Whether no equation is a call and every equation is needed."""
    eqns = jx.equations(body)
    return not any(jx.callee(eqn) for eqn in eqns) and len(jx.reaching(eqns, jx.outvars(body))) == len(eqns)


def without_calls(body: Any) -> Any:
    """`body` with the bodies of its calls in their places; itself where it has none."""
    if not any(jx.callee(eqn) is not None for eqn in jx.equations(body)):
        return body
    draft = Draft(body, jx.argument_vars(body))
    env = draft.environment(jx.argument_vars(body))
    draft.run(jx.equations(body), env, draft.inline)
    return draft.close(env, jx.outvars(body))


def without_dead_equations(body: Any) -> Any:
    """`body` with only the equations that its results need."""
    needed = jx.reaching(jx.equations(body), jx.outvars(body))
    if len(needed) == len(jx.equations(body)):
        return body
    draft = Draft(body, jx.argument_vars(body))
    env = draft.environment(jx.argument_vars(body))
    draft.run(needed, env)
    return draft.close(env, jx.outvars(body))
