"""Compute again, in the backward pass, what a function would otherwise leave in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from .. import frame
from ..cell import Writes
from ..frame import Frame
from .named import like
from .operands import freeze, thaw


def remat(
    function: Callable[..., Any] | None = None,
    *,
    policy: Callable[..., bool] | None = None,
    prevent_cse: bool = True,
    static_argnums: tuple[int, ...] = (),
) -> Any:
    """`function`, its intermediate values computed again when it is differentiated, as by `jax.checkpoint`.

    `policy` and `prevent_cse` are JAX's. The states that it writes are written. Usable as a decorator with options.
    """
    if function is None:
        return lambda f: remat(f, policy=policy, prevent_cse=prevent_cse, static_argnums=static_argnums)

    @like(function)
    def light(*args: Any, **kwargs: Any) -> Any:
        footprint = frame.inner_footprint()

        def pure(operands: Any) -> tuple[Any, Writes]:
            given, named = thaw(operands)
            with Frame(footprint).over({}) as inside:
                return function(*given, **named), inside.leave()

        def attempt() -> tuple[Any, Writes]:
            again = jax.checkpoint(pure, policy=policy, prevent_cse=prevent_cse)
            return again(freeze(args, kwargs, static_argnums))

        out, writes = frame.settled(footprint, attempt)
        frame.commit(writes)
        return out

    return light
