"""Sites whose outputs are only ever added up: they receive one and the same cotangent, which is then held once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ..ir import jaxpr as jx

_ADDITIONS = ("add", "add_any")


def receivers(body: Any, shifts: Sequence[Any], results: int) -> list[Any]:
    """For each variable in `shifts` the variable whose cotangent it receives, unchanged: the sum that it ends in.

    Args:
        body: a closed jaxpr.
        shifts: variables of it.
        results: how many of its results have cotangents, counted from the first; the others have none.
    """
    outputs = jx.outvars(body)[:results]
    equations = jx.reaching(jx.equations(body), outputs)
    operands = [(atom, eqn) for eqn in equations for atom in eqn.invars if not jx.is_literal(atom)]
    uses = Counter([*(atom for atom, _ in operands), *(atom for atom in outputs if not jx.is_literal(atom))])
    user = dict(operands)

    def receiver(var: Any) -> Any:
        while uses[var] == 1 and var in user:
            eqn = user[var]
            total = eqn.outvars[0]
            if eqn.primitive.name not in _ADDITIONS or jx.type_of(total) != jx.type_of(var):
                break
            var = total
        return var

    return [receiver(var) for var in shifts]
