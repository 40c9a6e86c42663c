"""Backends: from a planned transition to a learner."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..ir.diagnostics import error
from ..ir.step import Signature
from ..ir.transition import Transition
from .backend import Backend, Choice, Fused, Kernel, Uses
from .carry import Carry, InitialCarry
from .engine import Engine
from .initial import InitialLearner, InitialResult
from .kernels import kernels
from .learner import Learner, Result, Trained
from .names import BACKENDS, backend_of
from .nonfinite import NonFiniteError
from .pallas import Pallas
from .sizes import Sizes, sizes_of


def emit(
    transition: Transition,
    backend: str | Backend,
    signature: Signature,
    trace_dtype: Any = None,
    sizes: Sizes | None = None,
) -> Learner:
    """A learner for a planned transition. Raises EtirError for an unknown backend, or a type that no trace can have."""
    chosen = backend_of(backend)
    kind = InitialLearner if signature.initial else Learner
    return kind(Engine(transition, chosen, element_type(trace_dtype)), transition, signature, sizes=sizes)


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
    "NonFiniteError",
    "Pallas",
    "Result",
    "Sizes",
    "Trained",
    "Uses",
    "backend_of",
    "element_type",
    "emit",
    "kernels",
    "sizes_of",
]
