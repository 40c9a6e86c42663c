"""Differentiate a function with respect to states, arguments, or both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from .derived import derived
from .named import like


def value_and_grad(
    function: Callable[..., Any],
    wrt: Any = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """A function that returns `(value, gradients)`, or `((value, aux), gradients)` where `has_aux`.

    `wrt` is a module (its weights; the gradients are a dict by path), a State, or a dict, list or tuple of States (the
    gradients are in the same container). Without `wrt` the gradients are those of the arguments `argnums`, the first by
    default; with both, they are the pair (of states, of arguments). The gradient is taken at the value that a state has
    when the function starts; what the function writes is written.
    """

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        of = derived(jax.grad, function, wrt, argnums, has_aux, args, kwargs)
        return ((of.value, of.aux) if has_aux else of.value), of.pack(of.found)

    return differentiated


def grad(
    function: Callable[..., Any],
    wrt: Any = None,
    *,
    argnums: int | Sequence[int] | None = None,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """A function that returns the gradients, or `(gradients, aux)` where `has_aux`; see `value_and_grad`."""
    both = value_and_grad(function, wrt, argnums=argnums, has_aux=has_aux)

    @like(function)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        value, gradients = both(*args, **kwargs)
        return (gradients, value[1]) if has_aux else gradients

    return differentiated
