"""Models of other libraries, recognised by where their class comes from; one file a library, imported when used."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from .adapted import Adapted
from .explicit import from_brainstate, from_equinox, from_haiku, from_linen, from_nnx, from_penzai, from_spyx
from .libraries import LIBRARIES, library_of

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
    "wrapped",
]


def wrapped(model: Any) -> tuple[str, str] | None:
    """The library and the class of the model that a function wraps, as `jit` does, or is a method of, if any."""
    inner = inspect.unwrap(model)
    inner = getattr(inner, "__self__", inner)
    library = None if inner is model else library_of(inner)
    return None if library is None else (library, type(inner).__name__)


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
