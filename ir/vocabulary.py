"""The operations, and parts of operations, that a plan's text may name: what the modules of `ir/plan` define."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any

from . import plan
from .attributes import mnemonic
from .plan import Operation, Part


def vocabulary(more: Iterable[type[Operation | Part]] = ()) -> dict[str, type[Any]]:
    """Operations and parts by the name that the text has for them: those of the package `etir.ir.plan`, and `more`.

    A class is known because a module of the package defines it: a new operation is a new file, and nothing else.
    """
    return _own(tuple(plan.__path__)) | {mnemonic(kind): kind for kind in more}


@lru_cache(maxsize=8)
def _own(path: tuple[str, ...]) -> dict[str, type[Any]]:
    """What the modules in these folders define. Bases, which say nothing of their own, are not in it."""
    modules = [import_module(f"{plan.__name__}.{module.name}") for module in pkgutil.iter_modules(path)]
    return {
        mnemonic(kind): kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, (Operation, Part)) and kind.__module__ == module.__name__
        if kind not in (Operation, Part) and not inspect.isabstract(kind)
    }
