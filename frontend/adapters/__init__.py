"""Models of other libraries, recognised by where their class comes from; one file a library, imported when used."""

from __future__ import annotations

import importlib
import inspect
from functools import partial
from typing import Any

from ...ir.diagnostics import Diagnostic
from . import refusals
from .adapted import Adapted
from .explicit import from_brainstate, from_equinox, from_haiku, from_linen, from_nnx, from_penzai, from_spyx
from .libraries import LIBRARIES, library_at, library_of

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
    "is_call",
    "library_of",
    "wrapped",
]


_CALLS = frozenset({"__call__", "apply", "apply_fn", "update"})
"""What libraries call the method, or the function, that takes a step."""


def wrapped(model: Any) -> Diagnostic | None:
    """What to say of a function that wraps a model, as `jit` does, is a method of one, or its call; None of others."""
    inner: Any = model
    while (library := library_of(getattr(inner, "__self__", None))) is None:
        if (within := inner.func if isinstance(inner, partial) else getattr(inner, "__wrapped__", None)) is None:
            break
        inner = within
    if inspect.isfunction(inner) and inner.__name__ in _CALLS and (library := library_at(inner.__module__)) is not None:
        return refusals.bare_call(library, f"its function '{inner.__name__}' was given", _adapter(library).CALL)
    owner = inner if library is None else getattr(inner, "__self__", None)
    library = None if owner is model else library_of(owner)
    if library is None:
        return None
    return refusals.bare_call(library, f"'{type(owner).__name__}' was given inside a function", _adapter(library).CALL)


def is_call(model: Any) -> bool:
    """Whether a function that wraps a model is the model's own call, and no other method of its class."""
    inner: Any = model.func if isinstance(model, partial) else model
    return getattr(inner, "__name__", "") in _CALLS or library_of(inspect.unwrap(inner)) is not None


def adapted(model: Any, args: tuple[Any, ...]) -> tuple[Adapted, tuple[Any, ...]] | None:
    """The model and the inputs of one step, of the arguments of `etir.compile`; None where no library knows the model.

    Raises EtirError where a library does, and it is no model that takes one step.
    """
    if isinstance(model, Adapted):
        return model, args
    library = library_of(model)
    if library is None:
        return None
    return _adapter(library).recognise(model, args)


def _adapter(library: str) -> Any:
    return importlib.import_module(f"{__name__}.{LIBRARIES[library]}")
