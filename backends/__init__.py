"""Backends: from a planned transition to a learner."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..ir.diagnostics import did_you_mean, error
from ..ir.step import Signature
from ..ir.transition import Transition
from .backend import Backend, Choice, Fused, Kernel, Uses, check_backend
from .carry import Carry, InitialCarry
from .engine import Engine
from .initial import InitialLearner, InitialResult
from .learner import Learner, Result, Trained
from .pallas import Pallas
from .reference import Reference
from .xla import Xla

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Xla(), Pallas(), Reference())}
"""The backends that can be given by name; any other `Backend` can be given as an object."""


def emit(transition: Transition, backend: str | Backend, signature: Signature, trace_dtype: Any = None) -> Learner:
    """A learner for a planned transition. Raises EtirError for an unknown backend, or a type that no trace can have."""
    chosen = _named(backend) if isinstance(backend, str) else check_backend(backend)
    kind = InitialLearner if signature.initial else Learner
    return kind(Engine(transition, chosen, element_type(trace_dtype)), transition, signature)


def _named(name: str) -> Backend:
    if name == "auto":
        return BACKENDS["xla"]
    if name not in BACKENDS:
        help = did_you_mean(name, [*BACKENDS, "auto"])
        raise error("unknown-backend", f"there is no backend '{name}'", help=help)
    return BACKENDS[name]


def element_type(given: Any) -> str | None:
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


__all__ = [
    "BACKENDS",
    "Backend",
    "Carry",
    "Choice",
    "Fused",
    "InitialCarry",
    "InitialLearner",
    "InitialResult",
    "Kernel",
    "Learner",
    "Pallas",
    "Result",
    "Trained",
    "Uses",
    "element_type",
    "emit",
]
