"""Sums over the results of products with weights, as products of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax.numpy as jnp

from ...ir import jaxpr as jx
from ...ir.expression import Expression
from ..canonicalise import without_dead_equations


def summed_apart(body: Any) -> Any:
    """A step's jaxpr with sums over what weights alone give positions to written as sites of their own.

    `y - mean(y)` with `y = x W` is `x W - x (mean of W)`: the mean is a product with a vector, whose one result each
    position takes in, and is followed as such. Weights are the sites' last operands.
    """
    sums = _Sums(body)
    chosen = {id(eqn) for eqn in jx.equations(body) if sums.wanted(eqn)}
    if not chosen:
        return body

    def run(*arguments: Any) -> list[Any]:
        env = dict(zip(jx.all_invars(body), [*jx.consts_of(body), *arguments], strict=True))

        def hook(eqn: Any, operands: list[Any]) -> list[Any] | None:
            del operands
            with jx.made_by(eqn):
                return [sums.value(eqn.invars[0], eqn.params["axes"], env)] if id(eqn) in chosen else None

        jx.run_equations(jx.equations(body), env, hook)
        return [jx.read(env, atom) for atom in jx.outvars(body)]

    return without_dead_equations(jx.trace(run, *map(jx.struct_of, jx.argument_vars(body)))[0])


class _Sums:
    """The sums in a jaxpr of what is itself a sum of products."""

    def __init__(self, body: Any) -> None:
        """Index a jaxpr."""
        self.producers = jx.Producers(body)
        self._products: dict[tuple[Any, tuple[int, ...]], Any] = {}
        """The products so far, of each site and the axes that are summed: the same one wherever it is read."""

    def wanted(self, eqn: Any) -> bool:
        """Whether an equation is a sum to be written so."""
        return eqn.primitive.name == "reduce_sum" and any(self._sites(eqn.invars[0], eqn.params["axes"]))

    def _sites(self, atom: Any, axes: Sequence[int]) -> Iterator[Any]:
        """The sites among the terms of a value whose sum over `axes` is a product with their summed weight."""
        made = self.producers.producer(atom)
        if made is None:
            return
        if made.primitive.name == "etp":
            if _over_weight(made, axes):
                yield made
        elif made.primitive.name in ("add", "sub", "neg"):
            for term in made.invars:
                yield from self._sites(term, axes)

    def value(self, atom: Any, axes: Sequence[int], env: dict[Any, Any]) -> Any:
        """The sum of a value over `axes`."""
        made = self.producers.producer(atom)
        if made is None or not any(self._sites(atom, axes)):
            return jnp.sum(jx.read(env, atom), axes)
        if made.primitive.name == "etp":
            key = made, tuple(axes)
            if key not in self._products:
                self._products[key] = _product(made, axes, [jx.read(env, operand) for operand in made.invars])
            return self._products[key]
        shape = jx.shape_of(atom)
        terms = [
            self.value(term, axes, env)
            if jx.shape_of(term) == shape
            else jnp.sum(jnp.broadcast_to(jx.read(env, term), shape), axes)
            for term in made.invars
        ]
        return jx.bind(made, *terms)[0]


def _over_weight(eqn: Any, axes: Sequence[int]) -> bool:
    """Whether axes of a site's output are its weight's alone."""
    expression: Expression = eqn.params["expression"]
    *data, weight = expression.operands
    labels = [expression.output[axis] for axis in axes]
    return all(label in weight and not any(label in term for term in data) for label in labels)


def _product(eqn: Any, axes: Sequence[int], operands: list[Any]) -> Any:
    """A site with its weight summed over some axes of the output."""
    expression: Expression = eqn.params["expression"]
    gone = {expression.output[axis] for axis in axes}
    *data, weight = expression.operands
    kept = "".join(label for label in weight if label not in gone)
    output = "".join(label for label in expression.output if label not in gone)
    summed = jnp.sum(operands[-1], tuple(axis for axis, label in enumerate(weight) if label in gone))
    params = eqn.params | {"expression": Expression(operands=(*data, kept), output=output)}
    with jx.made_by(eqn):
        return eqn.primitive.bind(*operands[:-1], summed, **params)
