"""Ones: the cotangent whose pull-back is a derivative, position by position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax.numpy as jnp

from ..types import TensorType
from .operation import STEP, Operation
from .scene import Scene

if TYPE_CHECKING:
    from ..transition import Transition


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ones(Operation):
    """Ones everywhere; `turned`, minus `i`, by which the pull-back to a real value is the imaginary part."""

    phases: ClassVar[tuple[str, ...]] = (STEP,)

    kind: TensorType
    turned: bool = False

    def types(self, t: Transition) -> tuple[TensorType, ...]:
        """The type that is asked for."""
        del t
        return (self.kind,)

    def evaluate(self, scene: Scene) -> tuple[Any, ...]:
        """The constant."""
        del scene
        return (jnp.full(self.kind.shape, -1j if self.turned else 1, self.kind.dtype),)
