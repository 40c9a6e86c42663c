"""Linear state spaces with diagonal recurrence, and mLSTM: every weight is exact under `d_rtrl`."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import gelu, log_sigmoid, sigmoid, softplus

from ...ir.weight_operations import einsum, matmul, scale
from .. import random
from ..state import ParamState
from . import faults
from .recurrent import Recurrent, Step, drawn, filled, values


class _Complex(Recurrent):
    """A complex state `h` between real inputs and outputs: `y = Re(h C) + x D`."""

    def __init__(self, in_size: int, size: int, out_size: int, dim: int) -> None:
        super().__init__(in_size, dim)
        self.size, self.out_size = size, out_size
        self.B_re, self.B_im = drawn(in_size, size), drawn(in_size, size)
        self.C_re, self.C_im = drawn(size, out_size), drawn(size, out_size)
        self.D = drawn(in_size, out_size)
        self.hidden("h", size, complex=True)

    def moved(self, x: jax.Array, h: jax.Array, turn: Any, factor: Any) -> Step:
        """One step of `h' = turn * h + factor * (x B)`."""
        re, im, c_re, c_im, d = values(self, ("B_re", "B_im", "C_re", "C_im", "D"))
        h = scale(h, turn) + matmul(x, (re + 1j * im) * factor)
        return (h,), matmul(h, c_re + 1j * c_im).real + matmul(x, d)


class LRU(_Complex):
    """LRU (Orvieto et al. 2023): `h' = lambda * h + exp(gamma_log) * (x B)`, `y = Re(h' C) + x D`.

    `lambda = exp(-exp(nu) + i exp(theta))` begins evenly in the ring between `smallest` and `largest`, at phases up to
    `phase`, and `gamma_log` at `log sqrt(1 - |lambda|^2)` (their sections 3.3 and 3.4). Returns `y`. Under `d_rtrl`
    every weight is exact.
    """

    def __init__(
        self,
        in_size: int,
        size: int,
        out_size: int,
        *,
        smallest: float = 0.4,
        largest: float = 0.99,
        phase: float = math.pi / 10,
        dim: int = -1,
    ) -> None:
        super().__init__(in_size, size, out_size, dim)
        squares = random.uniform(smallest**2, largest**2, (size,))
        self.nu = ParamState(jnp.log(-0.5 * jnp.log(squares)))
        self.theta = ParamState(jnp.log(random.uniform(0.01 * phase, phase, (size,))))
        self.gamma_log = ParamState(0.5 * jnp.log(1 - squares))

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        nu, theta, gamma_log = values(self, ("nu", "theta", "gamma_log"))
        return self.moved(x, h, jnp.exp(-jnp.exp(nu) + 1j * jnp.exp(theta)), jnp.exp(gamma_log))


class S5(_Complex):
    """S5 (Smith et al. 2023): `h' = exp(L d) * h + (exp(L d) - 1) / L * (x B)`, `y = gelu(Re(h' C) + x D)`.

    `L = -exp(Lambda_re) + i Lambda_im` begins at `-1/2 + i pi n` (S4D-Lin, Gu et al. 2022), the step sizes `d =
    exp(log_step)` evenly in their logarithm between 0.001 and 0.1. Returns `y`. Under `d_rtrl` every weight is exact.
    """

    def __init__(self, in_size: int, size: int, out_size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, size, out_size, dim)
        self.Lambda_re = filled(size, value=math.log(0.5))
        self.Lambda_im = ParamState(math.pi * jnp.arange(size, dtype=float))
        self.log_step = ParamState(random.uniform(math.log(1e-3), math.log(1e-1), (size,)))

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        re, im, log_step = values(self, ("Lambda_re", "Lambda_im", "log_step"))
        eigenvalue = -jnp.exp(re) + 1j * im
        turn = jnp.exp(eigenvalue * jnp.exp(log_step))
        states, y = self.moved(x, h, turn, (turn - 1) / eigenvalue)
        return states, gelu(y)


class S6(Recurrent):
    """S6, the selective state space of Mamba (Gu and Dao 2023, algorithm 2): a state of `size` for each feature.

    `d = softplus(x Wd + bd)`, `h' = exp(d A) * h + outer(d * x, x WB)`, `y = h' (x WC) + D * x`, `A = -exp(A_log)`,
    which begins at -1, ..., -size. `Wd`, [in_size, 1], is broadcast, as in the paper. Returns `y`, of `in_size`
    features. Under `d_rtrl` every weight is exact.
    """

    def __init__(self, in_size: int, size: int, *, dim: int = -1) -> None:
        super().__init__(in_size, dim)
        self.size = size
        self.A_log = ParamState(jnp.broadcast_to(jnp.log(jnp.arange(1.0, size + 1)), (in_size, size)))
        self.D = filled(in_size, value=1.0)
        self.WB, self.WC, self.Wd = drawn(in_size, size), drawn(in_size, size), drawn(in_size, 1)
        first = jnp.exp(random.uniform(math.log(1e-3), math.log(1e-1), (in_size,)))
        self.bd = ParamState(first + jnp.log(-jnp.expm1(-first)))
        self.hidden("h", in_size, size)

    def step(self, x: jax.Array, h: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        a_log, d, wb, wc, wd, bd = values(self, ("A_log", "D", "WB", "WC", "Wd", "bd"))
        delta = softplus(matmul(x, jnp.broadcast_to(wd, (self.in_size, self.in_size)), bd))
        decay = jnp.exp(einsum("...d,dn->...dn", delta, -jnp.exp(a_log)))
        h = decay * h + (delta * x)[..., None] * matmul(x, wb)[..., None, :]
        return (h,), jnp.einsum("...dn,...n->...d", h, matmul(x, wc)) + scale(x, d)


class MLSTM(Recurrent):
    """mLSTM, the matrix memory of xLSTM (Beck et al. 2024, eq. 19 to 27), by heads, stabilised by a running maximum.

    `C' = f * C + i * outer(v, k)`, `n' = f * n + i * k`, `y = sigmoid(x Wo + bo) * C' q / max(|n' q|, exp(-m'))`. `bf`
    begins evenly between 3 and 6. Returns `y`, of `size` features. Under `d_rtrl` every weight is exact.
    Raises EtirError where `heads` do not divide `size`.
    """

    def __init__(self, in_size: int, size: int, *, heads: int = 1, dim: int = -1) -> None:
        super().__init__(in_size, dim)
        if heads < 1 or size % heads:
            raise faults.layer_option(self, f"size={size} does not divide into heads={heads}")
        self.size, self.heads, each = size, heads, size // heads
        self.Wq, self.Wk, self.Wv, self.Wo = (drawn(in_size, size) for _ in range(4))
        self.Wi, self.Wf = drawn(in_size, heads), drawn(in_size, heads)
        self.bi, self.bf, self.bo = filled(heads), ParamState(jnp.linspace(3.0, 6.0, heads)), filled(size)
        self.hidden("C", heads, each, each)
        self.hidden("n", heads, each)
        self.hidden("m", heads)

    def step(self, x: jax.Array, c: jax.Array, n: jax.Array, m: jax.Array) -> Step:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One step."""
        q, k, v = (self._by_heads(matmul(x, w)) for w in values(self, ("Wq", "Wk", "Wv")))
        k = k / math.sqrt(k.shape[-1])
        i, f, o = (matmul(x, *values(self, (f"W{gate}", f"b{gate}"))) for gate in "ifo")
        i, f, m = stabilised(m, i, f)
        c = f[..., None, None] * c + i[..., None, None] * (v[..., :, None] * k[..., None, :])
        n = f[..., None] * n + i[..., None] * k
        norm = jnp.maximum(jnp.abs(jnp.sum(n * q, -1)), jnp.exp(-m))
        h = jnp.einsum("...hvk,...hk->...hv", c, q) / norm[..., None]
        return (c, n, m), sigmoid(o) * h.reshape(o.shape)

    def _by_heads(self, y: jax.Array) -> jax.Array:
        return y.reshape(*y.shape[:-1], self.heads, -1)


def stabilised(m: Any, i: Any, f: Any) -> tuple[Any, Any, Any]:
    """The input gate, the forget gate and the new maximum, from both gates' logits (Beck et al. 2024, eq. 15 to 17)."""
    aged = log_sigmoid(f) + m
    new = jnp.maximum(aged, i)
    return jnp.exp(i - new), jnp.exp(aged - new), new
