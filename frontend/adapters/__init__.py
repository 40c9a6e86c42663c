"""Models of other libraries, recognised by where their class comes from; one file a library, imported when used."""

from __future__ import annotations

import importlib
from typing import Any

from .adapted import Adapted
from .explicit import from_brainstate, from_equinox, from_haiku, from_linen, from_nnx, from_penzai, from_spyx

__all__ = [
    "LIBRARIES",
    "Adapted",
    "adapted",
    "from_brainstate",
    "from_equinox",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "from_penzai",
    "from_spyx",
    "library_of",
]

LIBRARIES = {
    "brainstate": "brainstate",
    "equinox": "equinox",
    "flax.linen": "linen",
    "flax.nnx": "nnx",
    "haiku": "haiku",
    "penzai": "penzai",
    "spyx": "spyx",
}
"""The file here for each library, by the name that the modules of its classes begin with."""


def adapted(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model and the inputs of one step, of the arguments of `etir.compile`; None where no library knows the model.

    Raises EtirError where a library does, and it is no model that takes one step.
    """
    if isinstance(model, Adapted):
        return model, args
    library = library_of(model)
    if library is None:
        return None
    return importlib.import_module(f"{__name__}.{LIBRARIES[library]}").recognise(model, args)


def library_of(model: Any) -> str | None:
    """The library that a model, or a class of models, is of: it is imported already, since the class is there."""
    kind = model if isinstance(model, type) else type(model)
    homes = [f"{base.__module__}." for base in kind.__mro__]
    return next((name for home in homes for name in LIBRARIES if home.startswith(f"{name}.")), None)
