"""Products in the branches of a `cond`, outside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from .uses import Enter, Reached, Use, Wanted, inputs_of, made_of_params, needed, run, turns, uses_in

TAME = frozenset({
    "add", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cos", "expand_dims", "logistic", "mul",
    "neg", "reshape", "rev", "select_n", "sin", "slice", "squeeze", "sub", "tanh", "transpose",
})  # fmt: skip
"""What a weight may be made by where its branch may not be taken: finite, with its derivative, where operands are."""

_IN_BOUNDS = (jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS, jax.lax.GatherScatterMode.CLIP)
"""How a gather reads nothing but what is there."""


class Branches:
    """One `cond`, cut where its branches use weights.

    A first `cond` computes the data of the products that come first in their branches, zeros for a branch that is not
    taken; the products follow, outside; a second one computes the data of those that come next, and so on; the last
    computes the results from all products. So what a branch that is not taken would compute is nowhere computed.
    """

    def __init__(self, eqn: Any, operands: Sequence[Reached], wanted: Wanted, enter: Enter) -> None:
        """Find the products of a `cond` whose operands are made of these parameters."""
        self.bodies = [enter(branch, operands[1:], wanted) for branch in eqn.params["branches"]]
        self.uses: list[dict[Use, int]] = []
        """For each branch its products, each with its turn."""
        for body in self.bodies:
            found = uses_in(body, made_of_params(body, operands[1:]), wanted)
            self.uses.append(turns(body, [use for use in found if _is_tame(body, use)]))

    @property
    def uses_weights(self) -> bool:
        """Whether there are products at all."""
        return any(self.uses)

    def change(self, operands: Sequence[Any]) -> list[Any]:
        """The results."""
        index, *arguments = operands
        given: list[dict[Any, Any]] = [{} for _ in self.bodies]
        for turn in range(1 + max(turn for uses in self.uses for turn in uses.values())):
            now = [(k, use) for k, uses in enumerate(self.uses) for use, at in uses.items() if at == turn]
            chosen = [(k, u.data) for k, u in now if u.data is not None and u.data not in given[k]]
            data = iter(self._data(index, arguments, given, chosen))
            for k, use in now:
                (weight,) = run(self.bodies[k], arguments, {}, [use.weight])
                x = None if use.data is None else given[k][use.data] if use.data in given[k] else next(data)
                given[k][use.output] = use.of(x, weight)
        results = [jx.outvars(body) for body in self.bodies]
        return self._switch(index, arguments, given, results, lambda _, values: values, effects=True)

    def _data(
        self, index: Any, arguments: list[Any], given: list[dict[Any, Any]], of: list[tuple[int, Any]]
    ) -> list[Any]:
        """Variables of the branches, zeros for those of a branch that is not taken."""
        if not of:
            return []

        def padded(taken: int, values: list[Any]) -> list[Any]:
            found = iter(values)
            return [next(found) if k == taken else jnp.zeros(jx.shape_of(a), a.aval.dtype) for k, a in of]

        own = [[atom for k, atom in of if k == branch] for branch, _ in enumerate(self.bodies)]
        return self._switch(index, arguments, given, own, padded)

    def _switch(
        self,
        index: Any,
        arguments: list[Any],
        given: list[dict[Any, Any]],
        targets: list[list[Any]],
        results: Callable[[int, list[Any]], list[Any]],
        *,
        effects: bool = False,
    ) -> list[Any]:
        """`results` of the branch that is taken, from its place and the values of its variables that are `targets`."""
        read = [
            inputs_of(body, atoms, known, effects=effects)
            for body, atoms, known in zip(self.bodies, targets, given, strict=True)
        ]
        own = [{v: x for v, x in known.items() if v in of} for known, of in zip(given, read, strict=True)]
        variables = zip(*map(jx.argument_vars, self.bodies), strict=True)
        used = [k for k, of in enumerate(variables) if any(v in found for v, found in zip(of, read, strict=True))]

        def branch(k: int) -> Callable[..., list[Any]]:
            def taken(some: list[Any], values: list[list[Any]]) -> list[Any]:
                known = dict(zip(own[k], values[k], strict=True))
                every = [None] * len(arguments)
                for place, x in zip(used, some, strict=True):
                    every[place] = x
                return results(k, run(self.bodies[k], every, known, targets[k], effects=effects))

            return taken

        values = [list(known.values()) for known in own]
        branches = [branch(k) for k in range(len(self.bodies))]
        return list(jax.lax.switch(index, branches, [arguments[k] for k in used], values))


def _is_tame(body: Any, use: Use) -> bool:
    return all(
        eqn.primitive.name in TAME or (eqn.primitive.name == "gather" and eqn.params["mode"] in _IN_BOUNDS)
        for eqn in needed(jx.equations(body), [use.weight], ())
    )
