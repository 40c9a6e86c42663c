"""The backends that have names."""

from __future__ import annotations

from ..ir.diagnostics import did_you_mean, error
from .backend import Backend, check_backend
from .pallas import WINS, Pallas
from .reference import Reference
from .xla import Xla

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (Xla(), Pallas(), Reference())}
"""The backends that can be given by name; any other `Backend` can be given as an object."""

AUTO = Pallas(forced=False)
"""The XLA backend, with the kernels that are known to win."""


def backend_of(given: str | Backend) -> Backend:
    """The backend of a name, or the one given. `auto` is the XLA backend, with the kernels that are known to win.

    Raises EtirError for an unknown name, and what is no backend.
    """
    return _named(given) if isinstance(given, str) else check_backend(given)


def _named(name: str) -> Backend:
    if name == "auto":
        return AUTO if WINS else BACKENDS["xla"]
    if name not in BACKENDS:
        help = did_you_mean(name, [*BACKENDS, "auto"])
        raise error("unknown-backend", f"there is no backend '{name}'", help=help)
    return BACKENDS[name]
