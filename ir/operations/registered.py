"""Users' own weight operations."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..diagnostics import EtirError, error
from ..expression import LABELS, Expression
from ..loc import calling_line
from .base import Struct, WeightOperation
from .call import call_operation

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Registered(WeightOperation):
    """An operation of functions that a user gave, with the options of one call of it."""

    name: str
    function: Function
    unfolding: Function | None
    text: str | None
    options: tuple[tuple[str, Hashable], ...] = ()

    def __call__(self, x: Any, w: Any, **options: Hashable) -> jax.Array:
        """The operation on data `x` and a weight `w`; options are handed on to `apply` and `unfold`."""
        used = Registered(
            name=self.name,
            function=self.function,
            unfolding=self.unfolding,
            text=self.text,
            options=tuple(sorted({**dict(self.options), **options}.items())),
        )
        return call_operation(used, x, w)

    def apply(self, x: Any, w: Any) -> Any:
        """The user's function."""
        return self.function(x, w, **dict(self.options))

    def unfold(self, x: Any, w: Struct) -> Any:
        """The user's unfolding; by default the derivative of each result by each weight."""
        if self.unfolding is not None:
            return jnp.asarray(self.unfolding(x, w, **dict(self.options))).astype(w.dtype)
        if self.text is not None:
            return jnp.asarray(x).astype(w.dtype)
        return jax.jacrev(lambda w: self.apply(x, w))(jnp.zeros(w.shape, w.dtype))

    def expression(self, x: Struct, w: Struct) -> Expression:
        """What the user wrote, its ellipsis expanded; by default each result with each weight."""
        data = jax.eval_shape(lambda x: self.unfold(x, w), x)
        if self.text is not None:
            return Expression.of(self.text, (len(data.shape), len(w.shape)))
        labels = LABELS[: len(data.shape)]
        results = len(labels) - len(w.shape)
        return Expression(operands=(labels, labels[results:]), output=labels[:results])

    def fault(self, x: Struct, w: Struct) -> str | None:
        """Where both sides of the definition differ on random operands."""
        return _fault(self, (x.shape, x.dtype), (w.shape, w.dtype))


@functools.lru_cache(maxsize=256)
def _fault(operation: Registered, data: Any, weight: Any) -> str | None:
    """What is wrong with an operation on operands of these shapes and types; None where both its sides agree."""
    x, w = (jax.ShapeDtypeStruct(*kind) for kind in (data, weight))
    with jax.ensure_compile_time_eval():
        try:
            expression = operation.expression(x, w)
        except EtirError as refused:
            return refused.diagnostics[0].message

        def product(x: Any, w: Any) -> Any:
            return jnp.einsum(str(expression), operation.unfold(x, w), w, precision="highest")

        try:
            kinds = [jax.eval_shape(side, x, w).shape for side in (operation.apply, product)]
        except ValueError:
            shapes = f"{jax.eval_shape(lambda x: operation.unfold(x, w), x).shape} and {tuple(w.shape)}"
            return f"'{operation.text}' does not fit operands of shapes {shapes}"
        if kinds[0] != kinds[1]:
            return f"apply gives an array of shape {kinds[0]}, the expression one of {kinds[1]}"
        found = (_difference(operation.apply, product, seed, x, w) for seed in range(2))
        return next((fault for fault in found if fault is not None), None)


def _difference(one: Function, other: Function, seed: int, x: Struct, w: Struct) -> str | None:
    """How two functions of the same shapes differ, or their derivatives, on random operands; None where they do not."""
    values = _drawn(seed, x, w), _drawn(seed + 2, w, w)
    smooth = [k for k, kind in enumerate((x, w)) if jnp.issubdtype(kind.dtype, jnp.inexact)]

    def of(function: Function) -> list[Any]:
        result, pull = jax.vjp(lambda *some: function(*[*values[: 2 - len(some)], *some]), *(values[k] for k in smooth))
        return [result, *pull(_drawn(seed + 4, result, w))[::-1]]

    names = ("results", "derivatives by the weight", "derivatives by the data")
    for name, found, wanted in zip(names, of(one), of(other), strict=False):
        off = float(jnp.max(jnp.abs(found - wanted), initial=0))
        scale = max(float(jnp.max(jnp.abs(x), initial=0)) for x in (found, wanted))
        if not off <= float(jnp.finfo(found.dtype).eps) ** 0.5 * scale:
            return f"on random operands their {name}, of up to {scale:.2g}, differ by {off:.2g}"
    return None


def _drawn(seed: int, struct: Struct, w: Struct) -> Any:
    """Random numbers of a shape and type; where they are indices, such as every axis of the weight has."""
    random = np.random.default_rng(seed)
    if jnp.issubdtype(struct.dtype, jnp.inexact):
        value = random.normal(size=struct.shape)
        if jnp.issubdtype(struct.dtype, jnp.complexfloating):
            value = value + 1j * random.normal(size=struct.shape)
        return jnp.asarray(value, struct.dtype)
    return jnp.asarray(random.integers(0, min(w.shape, default=2), struct.shape), struct.dtype)


def register_operation(
    name: str, *, apply: Function, unfold: Function | None = None, expression: str | None = None
) -> Registered:
    """A weight operation of your own: call it as `operation(x, w, **options)`.

    `apply(x, w, **options)` is an ordinary JAX function of data and a weight to one array, linear in the weight: what
    runs forwards and backwards. `expression` is an index expression, such as `"...pk,pko->...po"`, of data and weight,
    where the data are what `unfold(x, w, **options)` makes of `x` (by default `x` itself; of `w` it is given shape and
    type alone): `apply(x, w) == jnp.einsum(expression, unfold(x, w), w)`. From it follow the traces of every rule. With
    `apply` alone the data are its derivative by the weight, of the result's axes and the weight's: right, and as large.

    Options are hashable. Where the two sides of the equation differ on random operands, EtirError is raised when a
    model is compiled.
    """
    if unfold is not None and expression is None:
        raise error(
            "expression-form",
            f"the weight operation '{name}' has an unfolding and no expression",
            loc=calling_line(),
            help="say what product of the unfolded data and the weight it is: expression='...pk,pko->...po'",
        )
    return Registered(name=name, function=apply, unfolding=unfold, text=expression)
