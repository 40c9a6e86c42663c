"""etir: a compiler toolkit for online learning in JAX."""

from .api import analyse, compile, emit, lower, plan
from .ir.diagnostics import Diagnostic, EtirError, EtirWarning
from .ir.operations import bias, einsum, matmul, scale

__version__ = "0.1.0"

__all__ = [
    "Diagnostic",
    "EtirError",
    "EtirWarning",
    "analyse",
    "bias",
    "compile",
    "einsum",
    "emit",
    "lower",
    "matmul",
    "plan",
    "scale",
]
