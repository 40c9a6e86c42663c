"""A check that numbers are finite, before they are learned from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from .diagnostics import Diagnostic


def not_finite(leaves: Iterable[tuple[str, Any]], noun: str) -> Iterator[Diagnostic]:
    """A finding for each array that holds NaN or infinity; what is not known yet, under a transform, is let pass.

    `leaves` are pairs of a path and an array, and `noun` says what they are: `parameter`, `state`.
    """
    for path, value in leaves:
        if isinstance(value, (jax.core.Tracer, jax.ShapeDtypeStruct)) or not jnp.issubdtype(value.dtype, jnp.inexact):
            continue
        known = np.asarray(value)  # of JAX, even a known array's sum would be traced under a transform
        bad = int(np.sum(~np.isfinite(known)))
        if bad:
            nans = int(np.sum(np.isnan(known)))
            found = [f"{count} {kind}" for count, kind in ((nans, "NaN"), (bad - nans, "infinite")) if count]
            yield Diagnostic(
                code="not-finite",
                message=f"{noun} '{path}' is not finite: {' and '.join(found)} of {value.size} elements",
                help="begin with finite numbers: every gradient that depends on these would be NaN",
            )
