"""What a carry prints as: what it holds, not the numbers."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..ir.plan.cost import human_bytes
from ..ir.step import leaf_paths
from ..ir.types import TensorType

_SHOWN = 40
"""Arrays that are listed before they are only counted."""


def carry_summary(carry: Any) -> str:
    """The class of a carry, the bytes that it holds, and a line for each state, each trace, and whatever else.

    What the last step left for the traces is one line, and so is `cut`.
    """
    rows: list[tuple[str, str, str]] = []
    total = 0
    for field, tree in zip(carry._fields, carry, strict=True):
        name, together = field.removesuffix("s"), list[int]()
        for path, leaf in leaf_paths(tree, ""):
            size = _bytes(leaf)
            total += size
            if field in ("cut", "unfinished") or (field == "traces" and "." in path):
                together.append(size)
            else:
                rows.append((f"{name} {path}".rstrip(), _type(leaf), human_bytes(size)))
        if together:
            name = "pending" if field == "traces" else field
            rows.append((name, f"{len(together)} arrays", human_bytes(sum(together))))
    widths = [max((len(row[k]) for row in rows[:_SHOWN]), default=0) for k in (0, 1)]
    lines = [f"{type(carry).__name__} of {human_bytes(total)}"]
    lines += [f"  {name:<{widths[0]}}  {kind:<{widths[1]}}  {size}" for name, kind, size in rows[:_SHOWN]]
    if len(rows) > _SHOWN:
        lines.append(f"  and {len(rows) - _SHOWN} more")
    return "\n".join(lines)


def _type(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
    return str(TensorType.of(leaf))


def _bytes(leaf: Any) -> int:
    if not hasattr(leaf, "dtype"):
        return 0
    return math.prod(leaf.shape) * int(getattr(leaf.dtype, "itemsize", 0) or np.dtype(leaf.dtype).itemsize)
