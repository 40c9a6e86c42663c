"""The step as the classical per-step rules see it: old states reach mixing operations without credit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax

from ..ir import jaxpr as jx
from ..ir.draft import Draft, Hook
from ..ir.regions import FORWARD, RESTRICTED
from ..ir.transition import Region, Transition
from .analyses.slicer import Slicer


def restricted_region(transition: Transition) -> Region:
    """The `forward` region with credit restricted as rules of one step at a time restrict it.

    What a mixing operation that leads to a new hidden state makes of *old* states, and of outputs of traced sites,
    counts as constant in them; new states, weights without a trace and everything else keep their credit, so an upper
    layer still sends credit to the layer below in the same step. Differentiating a window of this step gives `sum_t
    <L_t, E_t>` for every traced weight, whatever the window.
    """
    return _Restricted(transition).region()


class _Restricted:
    """Two evaluations of a step side by side: a live one, and one where old states and traced sites have no credit."""

    def __init__(self, transition: Transition) -> None:
        self.slicer = Slicer(transition)
        slicer = self.slicer
        places = transition.hidden_places
        self.old = [slicer.arguments[len(transition.params) + k] for k in places]
        self.new = {slicer.results[k] for k in places if not jx.is_literal(slicer.results[k])}
        traced = {association.site for association in transition.associations if association.traced}
        self.traced = {var for var, site in slicer.sites.items() if site in traced}
        useful = slicer.flow.reaching(self.new)
        self.cut = {var for var in slicer.flow.held if var in useful}
        rest = [e for k, e in enumerate(slicer.equations) if k not in slicer.flow.prologue.equations]
        self.equations = jx.reaching(rest, [*slicer.results, *slicer.records])

    def region(self) -> Region:
        """The region over the values of `forward`: other regions and the plan refer to them."""
        forward = self.slicer.transition.region(FORWARD)
        return replace(self.slicer.stepping(RESTRICTED, self.run), inputs=forward.inputs, outputs=forward.outputs)

    def run(self, draft: Draft, env: dict[Any, Any], shifts: Sequence[Any]) -> None:
        stopped = env | {var: draft.call(jax.lax.stop_gradient, env[var]) for var in self.old}
        split = set(self.old)
        hook = self.slicer.shifting(draft, shifts, env)
        for eqn in self.equations:
            if any(not jx.is_literal(atom) and atom in split for atom in eqn.invars):
                self._apart(draft, eqn, env, stopped, split, hook)
            else:
                draft.run([eqn], env, hook)
                stopped.update({var: env[var] for var in eqn.outvars})
            for var in self.traced.intersection(eqn.outvars):
                stopped[var] = draft.call(jax.lax.stop_gradient, stopped[var], of=eqn)
                split.add(var)
            for var in self.new.intersection(eqn.outvars):
                stopped[var] = env[var]
                split.discard(var)

    def _apart(
        self,
        draft: Draft,
        eqn: Any,
        env: dict[Any, Any],
        stopped: dict[Any, Any],
        split: set[Any],
        hook: Hook,
    ) -> None:
        """Evaluate an equation whose operands differ between the two evaluations."""
        draft.run([eqn], stopped, hook)
        held = self.cut.intersection(eqn.outvars)
        if len(held) < len(eqn.outvars):
            draft.run([eqn], env, self.slicer.spreading(draft, env, stopped.__getitem__, hook))
        env.update({var: stopped[var] for var in held})
        split.update(var for var in eqn.outvars if var not in held)
