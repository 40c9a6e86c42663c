"""The libraries whose models are known, told by where a class comes from."""

from __future__ import annotations

LIBRARIES = {
    "brainstate": "brainstate",
    "equinox": "equinox",
    "flax.linen": "linen",
    "flax.nnx": "nnx",
    "haiku": "haiku",
    "penzai": "penzai",
    "spyx": "spyx",
}
"""The file here for each library, and the end of its `etir.from_...`, by what the modules of its classes begin with."""


def library_of(model: object) -> str | None:
    """The library that a model, or a class of models, is of: it is imported already, since the class is there."""
    kind = model if isinstance(model, type) else type(model)
    return next((name for base in kind.__mro__ if (name := library_at(base.__module__)) is not None), None)


def library_at(module: str) -> str | None:
    """The library that a module of Python is of."""
    return next((name for name in LIBRARIES if f"{module}.".startswith(f"{name}.")), None)
