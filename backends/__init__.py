"""Backends: from a planned transition to a learner."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..ir.diagnostics import did_you_mean, error
from ..ir.step import Signature
from ..ir.transition import Transition
from .learner import Carry, Learner, Result, Trained
from .reference import Engine as ReferenceEngine
from .xla import Engine as XlaEngine

ENGINES: dict[str, Any] = {"xla": XlaEngine, "reference": ReferenceEngine}
"""The engines, by name."""


def emit(transition: Transition, backend: str, signature: Signature, trace_dtype: Any = None) -> Learner:
    """A learner for a planned transition. Raises EtirError for an unknown backend, or a type that no trace can have."""
    name = "xla" if backend == "auto" else backend
    if name not in ENGINES:
        help = did_you_mean(backend, [*ENGINES, "auto"])
        raise error("unknown-backend", f"there is no backend '{backend}'", help=help)
    return Learner(ENGINES[name](transition, _trace_dtype(trace_dtype)), transition, signature)


def _trace_dtype(given: Any) -> str | None:
    """The element type of a trace's real (and imaginary) parts, by name; None for the states' own."""
    if given is None:
        return None
    try:
        return str(jnp.finfo(given).dtype)
    except (TypeError, ValueError):
        raise error(
            "trace-dtype",
            f"trace_dtype={getattr(given, '__name__', given)!r}; wanted a floating-point element type",
            help="pass jnp.float32 or jnp.bfloat16",
        ) from None


__all__ = ["ENGINES", "Carry", "Learner", "Result", "Trained", "emit"]
