"""Recurrent layers with dense recurrence or with gates; every weight, bias included, learns online."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from ...ir.weight_operations import matmul
from ..state import ParamState
from . import faults
from .recurrent import Recurrent, Step, drawn, filled


class _Gated(Recurrent):
    """Gates `x W + b`, or `x W + b + h U`, of one size, each with weights of its own: `Wz`, `Uz`, `bz`."""

    def __init__(self, in_size: int, size: int, gates: str, *, recurrent: bool, dim: int) -> None:
        super().__init__(in_size, dim)
        self.size = size
        for gate in gates:
            setattr(self, f"W{gate}", drawn(in_size, size))
            if recurrent:
                setattr(self, f"U{gate}", drawn(size, size))
            setattr(self, f"b{gate}", filled(size))

    def fed(self, gate: str, x: jax.Array) -> jax.Array:
        """`x W + b`."""
        return matmul(x, getattr(self, f"W{gate}").value, getattr(self, f"b{gate}").value)

    def gate(self, gate: str, x: jax.Array, h: jax.Array) -> jax.Array:
        """`x W + b + h U`."""
        return self.fed(gate, x) + matmul(h, getattr(self, f"U{gate}").value)


class RNN(Recurrent):
    """`h' = tanh(x W + h U + b)`, the vanilla network (Elman 1990). Returns `h'`.

    Under `d_rtrl` `W`, `U` and `b` are approximate: what passes through `U` to other positions is left out.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, dim)
        self.W, self.U, self.b = drawn(in_size, size), drawn(size, size), filled(size)
        self.hidden("h", size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        h = jnp.tanh(matmul(x, self.W.value, self.b.value) + matmul(h, self.U.value))
        return (h,), h


class GRU(_Gated):
    """`h' = z * h + (1 - z) * candidate`, `z` and `r` sigmoids of `x W + h U + b`. Returns `h'`.

    With `reset="after"` the candidate is `tanh(x Wh + r * (h Uh + bh))` (the form of cuDNN), and under `d_rtrl` every
    weight is approximate. With `reset="before"` it is `tanh(x Wh + (r * h) Uh + bh)` (Cho et al. 2014, eq. 5 to 8):
    then `Wr`, `Ur` and `br` reach the state through `Uh` alone, and are truncated; `rules={"*r": "rtrl"}` makes them
    exact. Raises EtirError for another `reset`.
    """

    Wh: ParamState
    Uh: ParamState
    bh: ParamState

    def __init__(self, in_size: int, size: int, *, reset: Literal["after", "before"] = "after", dim: int = -1) -> None:
        super().__init__(in_size, size, "zrh", recurrent=True, dim=dim)
        if reset not in ("after", "before"):
            raise faults.layer_option(self, f"reset={reset!r}; wanted 'after' or 'before'")
        self.reset = reset
        self.hidden("h", size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        z, r = sigmoid(self.gate("z", x, h)), sigmoid(self.gate("r", x, h))
        if self.reset == "before":
            candidate = self.gate("h", x, r * h)
        else:
            candidate = matmul(x, self.Wh.value) + r * matmul(h, self.Uh.value, self.bh.value)
        h = z * h + (1 - z) * jnp.tanh(candidate)
        return (h,), h


class LSTM(_Gated):
    """`c' = f * c + i * tanh(g)`, `h' = o * tanh(c')`, gates of `x W + h U + b` (Gers et al. 2000). Returns `h'`.

    `bf` begins at one (Jozefowicz et al. 2015). Under `d_rtrl` every weight is approximate: what passes through the
    recurrent products to other positions is left out.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, size, "ifgo", recurrent=True, dim=dim)
        self.bf = filled(size, value=1.0)
        self.hidden("c", size)
        self.hidden("h", size)

    def step(self, x: jax.Array, c: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        i, f, g, o = (self.gate(name, x, h) for name in "ifgo")
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        h = sigmoid(o) * jnp.tanh(c)
        return (c, h), h


class MGU(_Gated):
    """`f = sigmoid(x Wf + h Uf + bf)`, `h' = (1 - f) * h + f * tanh(x Wh + (f * h) Uh + bh)` (Zhou et al. 2016).

    Returns `h'`. Under `d_rtrl` every weight is approximate.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, size, "fh", recurrent=True, dim=dim)
        self.hidden("h", size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        f = sigmoid(self.gate("f", x, h))
        h = (1 - f) * h + f * jnp.tanh(self.gate("h", x, f * h))
        return (h,), h


class MinGRU(_Gated):
    """`h' = (1 - z) * h + z * (x Wh + bh)`, `z = sigmoid(x Wz + bz)` (Feng et al. 2024, section 3.1). Returns `h'`.

    Under `d_rtrl` every weight is exact: the recurrence is element-wise.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, size, "zh", recurrent=False, dim=dim)
        self.hidden("h", size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        z = sigmoid(self.fed("z", x))
        h = (1 - z) * h + z * self.fed("h", x)
        return (h,), h


class MinLSTM(_Gated):
    """`h' = (f * h + i * (x Wh + bh)) / (f + i)`, `f` and `i` sigmoids of `x W + b` (Feng et al. 2024, section 3.2).

    Returns `h'`. Under `d_rtrl` every weight is exact.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, size, "fih", recurrent=False, dim=dim)
        self.hidden("h", size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        f, i = sigmoid(self.fed("f", x)), sigmoid(self.fed("i", x))
        h = (f * h + i * self.fed("h", x)) / (f + i)
        return (h,), h
