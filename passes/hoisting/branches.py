"""Products in the branches of a `cond`, outside it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ...ir import jaxpr as jx
from .uses import Enter, Find, Reached, Use, Wanted, inputs_of, made_of_params, needed, run, turns, uses_in

TAME = frozenset({
    "add", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cos", "expand_dims", "logistic", "mul",
    "neg", "reduce_sum", "reshape", "rev", "select_n", "sin", "slice", "squeeze", "sub", "tanh", "transpose",
})  # fmt: skip
"""What may be computed where its branch is not taken: finite, with its derivative, where operands are."""

_IN_BOUNDS = (jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS, jax.lax.GatherScatterMode.CLIP)
"""How a gather reads nothing but what is there."""


class Branches:
    """One `cond`, cut where its branches use weights.

    A first `cond` computes the data of the products that come first in their branches, zeros for a branch that is not
    taken; the products follow, outside; a second one computes the data of those that come next, and so on; the last
    computes the results from all products. So what a branch that is not taken would compute is nowhere computed, but
    what is as good as nothing: sums of what the `cond` is given.
    """

    def __init__(
        self, eqn: Any, operands: Sequence[Reached], wanted: Wanted, enter: Enter, find: Find = uses_in
    ) -> None:
        """Find the products of a `cond` whose operands are made of these parameters."""
        self.bodies = [enter(branch, operands[1:], wanted) for branch in eqn.params["branches"]]
        self.uses: list[dict[Use, int]] = []
        """For each branch its products, each with its turn."""
        for body in self.bodies:
            found = find(body, made_of_params(body, operands[1:]), wanted)
            self.uses.append(turns(body, [use for use in found if _is_tame(body, use.weights)]))

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
            values: dict[tuple[int, Any], Any] = {}
            for k, use in now:
                body = self.bodies[k]
                direct = [a for a in use.data if a in given[k] or (use.tame and _is_tame(body, [a], given[k]))]
                values |= zip([(k, a) for a in direct], run(body, arguments, given[k], direct), strict=True)
            chosen = list(dict.fromkeys((k, a) for k, use in now for a in use.data if (k, a) not in values))
            values |= zip(chosen, self._data(index, arguments, given, chosen), strict=True)
            for k, use in now:
                weights = run(self.bodies[k], arguments, {}, use.weights)
                given[k][use.output] = use.of(*(values[k, a] for a in use.data), *weights)
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


def _is_tame(body: Any, targets: Sequence[Any], given: Collection[Any] = ()) -> bool:
    """Whether some variables of a body may be computed where it is not run, some others given."""
    return all(map(is_tame, needed(jx.equations(body), targets, given)))


def is_tame(eqn: Any) -> bool:
    """Whether the results of an equation are finite, with their derivative, where its operands are."""
    name = eqn.primitive.name
    if name == "gather":
        return eqn.params["mode"] in _IN_BOUNDS
    return name in TAME or (name == "div" and jx.is_literal(eqn.invars[1]) and bool(eqn.invars[1].val))
