"""Values of the IR: a type and a hint, no name."""

from __future__ import annotations

from dataclasses import dataclass

from .loc import Loc
from .types import TensorType


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Value:
    """Something computed once. `hint` is what the printer would like to call it."""

    type: TensorType
    hint: str = ""
    loc: Loc | None = None
