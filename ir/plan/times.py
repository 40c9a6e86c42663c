"""A value times another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from ..types import TensorType
from ..values import Value
from .faults import not_differentiable
from .operation import Operation
from .placement import as_type_of
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Times(Operation):
    """A value times a number that the plan computes, in the wider of their element types."""

    value: Value
    by: Value

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The value's, complex where the number is."""
        del t
        kind = self.value.type
        return (TensorType(str(jnp.promote_types(kind.dtype, self.by.type.dtype)), kind.shape),)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The product."""
        (kind,) = (value.type for value in self.results)
        return (as_type_of(scene[self.value] * scene[self.by], kind.dtype),)

    def faults(self, t: Transition) -> Iterator[str]:
        """Both are floating-point, and what is multiplied with is one number."""
        del t
        yield from not_differentiable("multiplies", [self.value.type, self.by.type])
        if self.by.type.shape:
            yield f"multiplies with {self.by.type}; wanted one number"
