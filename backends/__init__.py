"""Backends: from a planned transition to a learner."""

from __future__ import annotations

from typing import Any

from ..ir.diagnostics import did_you_mean, error
from ..ir.step import Signature
from ..ir.transition import Transition
from .learner import Carry, Learner, Result, Trained
from .reference import Engine as ReferenceEngine
from .xla import Engine as XlaEngine

ENGINES: dict[str, Any] = {"xla": XlaEngine, "reference": ReferenceEngine}
"""The engines, by name."""


def emit(transition: Transition, backend: str, signature: Signature, trace_dtype: Any = None) -> Learner:
    """A learner for a planned transition. Raises EtirError for an unknown backend."""
    name = "xla" if backend == "auto" else backend
    if name not in ENGINES:
        help = did_you_mean(backend, [*ENGINES, "auto"])
        raise error("unknown-backend", f"there is no backend '{backend}'", help=help)
    return Learner(ENGINES[name](transition, trace_dtype), transition, signature)


__all__ = ["ENGINES", "Carry", "Learner", "Result", "Trained", "emit"]
