"""Weights that stay within limits: a free number is trained, and a function of it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from .. import frame
from ..cell import Cell
from ..filters import states_of
from ..state import ParamState
from . import faults

Map = Callable[[jax.Array], jax.Array]

COMPILED = "constrained"
"""The key of what a compiled weight holds: another tree, so that no program that was traced before takes it."""


def _inverse_softplus(y: jax.Array) -> jax.Array:
    return y + jnp.log(-jnp.expm1(-y))


def _logit(y: jax.Array) -> jax.Array:
    return jnp.log(y) - jnp.log1p(-y)


NAMED: dict[str, Map] = {"unit_interval": jax.nn.sigmoid, "positive": jax.nn.softplus}
_INVERSES: dict[Map, Map] = {
    jax.nn.sigmoid: _logit,
    jax.nn.softplus: _inverse_softplus,
    jnp.exp: jnp.log,
    jnp.tanh: jnp.arctanh,
}


class Constrained(ParamState):
    """A weight that is used as `to(free)`: read it as `.constrained`; `.value` is the free number, which is trained.

    `init` is the first value as it is used. `to` is `"unit_interval"` (sigmoid), `"positive"` (softplus) or a function
    of an array, element by element, whose `inverse` is to be given unless it is `sigmoid`, `softplus`, `exp` or `tanh`.
    Raises EtirError for a first value that the function does not have.
    """

    def __init__(
        self,
        init: Any,
        to: str | Map = "unit_interval",
        *,
        inverse: Map | None = None,
        name: str | None = None,
        sharding: Sequence[Any] | None = None,
    ) -> None:
        if isinstance(to, str) and to not in NAMED:
            raise faults.unknown_constraint(to, list(NAMED))
        self._to, self._inverse = to, inverse
        if inverse is None and self.to not in _INVERSES:
            raise faults.no_inverse(self.to)
        self._free: jax.Array | None = None
        wanted = jnp.asarray(init)
        free = self.inverse(wanted if jnp.issubdtype(wanted.dtype, jnp.inexact) else wanted.astype(float))
        if not isinstance(free, Tracer) and not bool(jnp.isfinite(free).all()):
            raise faults.outside_constraint(name, wanted, to)
        super().__init__(free, name=name, sharding=sharding)

    @property
    def to(self) -> Map:
        """What makes of the free value the one that is used."""
        return NAMED[self._to] if isinstance(self._to, str) else self._to

    @property
    def inverse(self) -> Map:
        """What makes of the value that is used the free one."""
        return self._inverse or _INVERSES[self.to]

    @property
    def compiled(self) -> bool:
        """Whether `compile_params` has put the used value in the place of the free one."""
        return isinstance(frame.read(self).value, dict)

    @property
    def only_read(self) -> bool:
        """The same: what is compiled is not trained."""
        return self.compiled

    @property
    def constrained(self) -> jax.Array:
        """The value that the model uses."""
        value = self.value
        return value[COMPILED] if isinstance(value, dict) else self.to(value)

    def compile(self) -> None:
        """Hold the used value, so that reading computes nothing."""
        cell = frame.read(self)
        if not isinstance(cell.value, dict):
            self._free = None if isinstance(cell.value, Tracer) else cell.value
            frame.write(self, replace(cell, value={COMPILED: self.to(cell.value)}))

    def decompile(self) -> None:
        """Hold the free value again: where nothing has changed, the very one that was there before."""
        cell: Cell = frame.read(self)
        if isinstance(cell.value, dict):
            used, before, self._free = cell.value[COMPILED], self._free, None
            free = self.inverse(used)
            if before is not None and before.shape == used.shape:
                free = jnp.where(self.to(before) == used, before, free)
            frame.write(self, replace(cell, value=free))


def compile_params(model: Any) -> Any:
    """`model`, each `Constrained` weight holding the value that is used: inference computes no transform.

    Such a model does not learn: `etir.compile` and `transform.grad` of it raise EtirError until `decompile_params`.
    """
    for state in _constrained("compile_params", model):
        state.compile()
    return model


def decompile_params(model: Any) -> Any:
    """`model`, each `Constrained` weight holding its free value again, bit for bit where it was not changed."""
    for state in _constrained("decompile_params", model):
        state.decompile()
    return model


def _constrained(function: str, model: Any) -> list[Constrained]:
    return [state for state in states_of(function, model).values() if isinstance(state, Constrained)]
