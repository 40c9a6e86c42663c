"""What a weight operation says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ..expression import Expression

Struct = jax.ShapeDtypeStruct


class Rows(NamedTuple):
    """What unfolded data are that say a place by a one among zeros, along their last axis."""

    places: int
    """How many there are."""
    fills: bool
    """Whether an index beyond them is none of them; else it is the nearest one."""


class WeightOperation(ABC):
    """A map `y = apply(x, w)`, linear in `w`, which is also an index expression on data that are unfolded from `x`.

    `apply(x, w) == einsum(expression, unfold(x, w), w)`: the left side is what a step runs and reverse mode goes
    through, the right side is what traces are made of. A subclass is a frozen dataclass, so that two with the same
    fields are one.
    """

    __slots__ = ()

    name: str
    """What it is called in text."""

    @abstractmethod
    def apply(self, x: Any, w: Any) -> Any:
        """The result: one array."""

    @abstractmethod
    def unfold(self, x: Any, w: Struct) -> Any:
        """The data that the expression takes, of the weight's element type; of `w` shape and type alone are known."""

    @abstractmethod
    def expression(self, x: Struct, w: Struct) -> Expression:
        """The index expression of unfolded data and the weight, for operands of these shapes."""

    def rows(self, w: Struct) -> Rows | None:
        """What unfolded data are where they are one-hot vectors of the indices `x`; None where they are not."""
        del w
        return None

    def summed(self, factors: Any, x: Any, w: Struct) -> Any:
        """The unfolded data of many steps, `x` of `[time, ...]`, each times a factor, added up."""

        def add(total: Any, at: Any) -> tuple[Any, None]:
            return total + at[0] * self.unfold(at[1], w), None

        zeros = jnp.zeros(*_kind(jax.eval_shape(lambda x: self.unfold(x[0], w), x)))
        return jax.lax.scan(add, zeros, (factors.astype(zeros.dtype), x))[0]

    def cotangent(self, x: Any, y: Any, w: Struct) -> Any:
        """The weight's cotangent, from data and cotangents of the result at many steps, `[time, ...]`."""
        stacked = Mapped(self, (True, False))
        return jax.linear_transpose(lambda w: stacked.apply(x, w), w)(y)[0]

    def fault(self, x: Struct, w: Struct) -> str | None:
        """Where `unfold` and `expression` do not say what `apply` computes, how; ours do."""
        del x, w
        return None


@dataclass(frozen=True, slots=True)
class Mapped(WeightOperation):
    """An operation along a further leading axis of its result and of the operands that are `mapped`: data, weight."""

    inner: WeightOperation
    mapped: tuple[bool, bool]
    name: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.inner.name)

    def apply(self, x: Any, w: Any) -> Any:
        """The operation under `jax.vmap`."""
        return jax.vmap(self.inner.apply, tuple(0 if on else None for on in self.mapped))(x, w)

    def unfold(self, x: Any, w: Struct) -> Any:
        """The unfolding under `jax.vmap`, where the data are mapped."""
        of_one = partial(self.inner.unfold, w=self._one(w, self.mapped[1]))
        return jax.vmap(of_one)(x) if self.mapped[0] else of_one(x)

    def expression(self, x: Struct, w: Struct) -> Expression:
        """The operation's own, with one more label."""
        found = self.inner.expression(*(self._one(s, on) for s, on in zip((x, w), self.mapped, strict=True)))
        return found.with_leading(found.fresh_label(), self.mapped)

    def rows(self, w: Struct) -> Rows | None:
        """The operation's own."""
        return self.inner.rows(self._one(w, self.mapped[1]))

    def summed(self, factors: Any, x: Any, w: Struct) -> Any:
        """The operation's own, under `jax.vmap` where the data are mapped."""
        of_one = partial(self.inner.summed, factors, w=self._one(w, self.mapped[1]))
        return jax.vmap(of_one, 1)(x) if self.mapped[0] else of_one(x)

    def cotangent(self, x: Any, y: Any, w: Struct) -> Any:
        """The operation's own, of as many steps as there are in all."""
        if self.mapped != (True, False):
            return WeightOperation.cotangent(self, x, y, w)
        x, y = (a.reshape(-1, *a.shape[2:]) for a in (x, y))
        return self.inner.cotangent(x, y, w)

    def fault(self, x: Struct, w: Struct) -> str | None:
        """The operation's own."""
        return self.inner.fault(*(self._one(s, on) for s, on in zip((x, w), self.mapped, strict=True)))

    @staticmethod
    def _one(struct: Struct, mapped: bool) -> Struct:
        return jax.ShapeDtypeStruct(struct.shape[1:], struct.dtype) if mapped else struct


def _kind(struct: Any) -> tuple[tuple[int, ...], Any]:
    return struct.shape, struct.dtype
