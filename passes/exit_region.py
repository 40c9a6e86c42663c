"""The step as one group's exit signal sees it: what comes after the group's new states, and depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax import lax

from ..ir import jaxpr as jx
from ..ir.regions import make_region
from ..ir.transition import Group, Region, Transition
from ..ir.values import Value
from .slice_regions import Slicer


def exit_region(transition: Transition, group: Group) -> Region:
    """`exit(weights, states, inputs, shifts) -> outputs`: the step's outputs, from shifts of a group's new states.

    Each new state of the group is cut from what made it, and shifted; all that reads it sees the shifted value. So the
    derivative by the shifts is that of the outputs by each new state, the group's other states held, through every
    path of the same step: readouts, and what other groups make of the new states now. The outputs are those that carry
    credit.
    """
    slicer = Slicer(transition)
    frontier = slicer.flow.prologue.frontier
    variables = [*frontier, *slicer.arguments[len(transition.params) :]]
    places = [transition.states.index(state) for state in group.states]
    news = [slicer.results[k] for k in places]
    outputs = [
        atom
        for atom, output in zip(slicer.results[len(transition.states) :], transition.outputs, strict=True)
        if output.value.type.carries_credit
    ]
    rest = [eqn for k, eqn in enumerate(slicer.equations) if k not in slicer.flow.prologue.equations]
    chosen = jx.reaching(rest, [*outputs, *news])

    def run(*args: Any) -> list[Any]:
        env: dict[Any, Any] = {**slicer.consts, **dict(zip(variables, args, strict=False))}
        shifts = dict(zip(news, args[len(variables) :], strict=True))
        _shift(env, [v for v in variables if v in shifts], shifts)
        for eqn in chosen:
            jx.run_equations([eqn], env)
            _shift(env, [v for v in eqn.outvars if v in shifts], shifts)
        return [jx.read(env, atom) for atom in outputs]

    types = [jx.struct_of(v) for v in (*variables, *news)]
    body, _ = jx.trace(run, *types)
    made = [Value(type=s.after.type, hint=f"d{s.before.hint}") for s in group.states]
    results = [Value(type=jx.type_of(atom), hint="y") for atom in outputs]
    inputs = [*(slicer.value_of[v] for v in variables), *made]
    return make_region(f"exit{group.index}", body, inputs, results)


def _shift(env: dict[Any, Any], variables: Sequence[Any], shifts: dict[Any, Any]) -> None:
    for var in variables:
        env[var] = lax.stop_gradient(env[var]) + shifts[var]
