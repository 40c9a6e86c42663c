"""One value or another, as a mark of the step says: how traces stay through padding, and begin with sequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .operation import Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Select(Operation):
    """`on` where the mark is true, `off` where it is false; zeros where there is none of them."""

    mark: Value
    """`bool[]`, or one for each sample."""
    on: Value | None = None
    off: Value | None = None
    axis: int = 0
    """Of the samples, where there is a mark for each."""

    @property
    def kind(self) -> TensorType:
        """The type of what there is."""
        found = self.off if self.on is None else self.on
        return self.mark.type if found is None else found.type

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """That of what there is."""
        del t
        return (self.kind,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """A choice, entry by entry of the samples."""
        mark = scene[self.mark]
        if mark.ndim:
            rank = len(self.kind.shape)
            mark = mark.reshape([-1 if k == self.axis else 1 for k in range(rank)])
        given = [None if value is None else scene[value] for value in (self.on, self.off)]
        zeros = jnp.zeros((), next(x.dtype for x in given if x is not None))
        return (jnp.where(mark, *(zeros if x is None else x for x in given)),)

    def faults(self, t: Transition) -> Iterator[str]:
        """A mark, of the step or of the samples, and values of one type."""
        del t
        if self.on is None and self.off is None:
            yield "chooses between nothing and nothing"
        if self.on is not None and self.off is not None and self.on.type != self.off.type:
            yield f"chooses between {self.on.type} and {self.off.type}; wanted one type"
        shape, kind = self.mark.type.shape, self.kind
        if self.mark.type.dtype != "bool":
            yield f"has a mark of {self.mark.type}; wanted bool"
        elif shape and (len(shape) > 1 or kind.shape[self.axis : self.axis + 1] != shape):
            yield f"has a mark of {self.mark.type} for axis {self.axis} of {kind}"
