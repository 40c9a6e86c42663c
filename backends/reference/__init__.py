"""The reference backend: every operation by its definition, step by step. Slow, and obviously right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..backend import Backend


@dataclass(frozen=True)
class Reference(Backend):
    """Dense Jacobians, `jax.vjp` by the parameters, no fold: the oracle that other backends are compared with."""

    name: ClassVar[str] = "reference"


__all__ = ["Reference"]
