"""The identity of a function that a transform wraps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function, or of the class of a callable object."""
    return getattr(function, "__name__", type(function).__name__)


def like(function: Callable[..., Any]) -> Callable[[F], F]:
    """A decorator that gives a wrapper the name, the docstring and the `__wrapped__` of `function`."""

    def dress(wrapper: F) -> F:
        functools.update_wrapper(wrapper, function, assigned=("__module__", "__doc__"), updated=())
        wrapper.__name__ = wrapper.__qualname__ = name_of(function)
        return wrapper

    return dress
