"""Compiled functions of a user's own arguments, which are checked as they are traced: once for all that are alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from ..ir.diagnostics import EtirError
from .layout import Layout, Roles
from .meshes import Like, Method, Total


class Checked:
    """A method of a learner: `run` on what `check` makes of the arguments, in one `jax.jit`.

    JAX finds a compiled program by the structure, shapes and element types of the arguments, which is all that `check`
    looks at. So a call whose like was made before costs a look-up.
    """

    def __init__(
        self,
        check: Callable[..., tuple[Any, ...]],
        run: Callable[..., Any],
        static: int = 0,
        *,
        like: Like,
        totals: int = 0,
        roles: Roles = (),
        layout: Layout | None = None,
        donated: tuple[int, ...] = (),
    ) -> None:
        """Prepare; the first `static` arguments are hashed instead of traced, and are given to both.

        `like` and `totals` are `Method`'s; `run` is given its `Total` last, as `total`, where it has `totals`. With a
        `layout`, arguments are put where it says, by their `roles`, and what results are like them stays there. Those
        at the places in `donated` may be overwritten.
        """
        self._check, self._layout, self._roles, self._static = check, layout, roles, static

        def method(*given: Any) -> Any:
            first, traced = given[:static], given[static:]

            def whole(total: Total, *arrays: Any) -> Any:
                checked = check(*first, *arrays)
                return run(*first, *checked, total=total) if totals else run(*first, *checked)

            results = Method(whole, like, totals)(*traced)
            if layout is None:
                return results
            return layout.keep(like(*map(layout.shardings, roles, traced)), results)

        method.__name__ = run.__name__
        self._compiled = jax.jit(method, static_argnums=range(static), donate_argnums=donated)

    def __call__(self, *given: Any) -> Any:
        """What `run` returns. Raises EtirError for wrong arguments: what JAX cannot trace is looked at as it is."""
        try:
            return self._compiled(*self._put(given))
        except (EtirError, TypeError) as found:
            wrong = found
        self.refuse(*given)
        raise wrong

    def refuse(self, *given: Any) -> None:
        """Raise EtirError for wrong arguments, and run nothing."""
        self._check(*given)

    def _put(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, where a layout says that they belong."""
        if self._layout is None:
            return given
        first, arrays = given[: self._static], given[self._static :]
        return *first, *map(self._layout.put, self._roles, arrays)
