"""The best that was found by hand for the layer of `lif.py`: windowed D-RTRL with one in-place trace pass a fold.

It shows what a compiler may hope for. Inside a window credit is ordinary reverse mode. Between two trace passes, `fold`
steps apart, the trace is (old trace, history of site inputs and sensitivities), and all that the old trace will be
contracted with is gathered in one vector.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .lif import Array, hidden, loss, site_input


def d_rtrl_windowed(w: Array, v: Array, xs: Array, ts: Array, *, window: int, fold: int) -> Array:
    """The estimator of `d_rtrl_explicit`, which see for the shapes; `fold` is a multiple of `window`."""
    batch, n = v.shape
    zero = jnp.zeros((batch, n), w.dtype)

    def run(v: Array, shift: Array, x: Array, t: Array) -> tuple[Array, Any]:
        def body(v: Array, a: tuple[Array, Array, Array]) -> tuple[Array, Any]:
            x, t, s = a
            u = site_input(v, x)
            y = u @ lax.stop_gradient(w) + s
            diagonal, sensitivity = jax.vjp(hidden, v, y)[1](jnp.ones_like(v))
            v = hidden(v, y)
            return v, (loss(v, t), *lax.stop_gradient((u, diagonal, sensitivity)))

        v, (losses, *history) = lax.scan(body, v, (x, t, shift))
        return losses.sum(), (v, *history)

    def window_body(carry: tuple[Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, Any]:
        v, product, pending = carry  # product of diagonals since the fold began; what the old trace is contracted with
        shift = jnp.zeros((window, batch, n), w.dtype)
        (_, (v_new, u, d, f)), (v_bar, y_bar) = jax.value_and_grad(run, (0, 1), has_aux=True)(v, shift, *xt)
        return (v_new, product * jnp.prod(d, 0), pending + v_bar * product), (u, d, f, y_bar, v_bar)

    def fold_body(carry: tuple[Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        v, trace, gradient = carry
        (v, product, pending), (*history, v_bar) = lax.scan(window_body, (v, jnp.ones_like(zero), zero), xt)
        u, d, f, y_bar = (a.reshape(fold, batch, -1) for a in history)
        later = _credit_from_later_windows(v_bar, d, window)
        gradient = gradient + jnp.einsum("kbi,kbj->ij", u, y_bar + later * f)  # one product for the whole fold
        suffix = jnp.cumprod(d[::-1], 0)[::-1]
        scaled = f * jnp.concatenate([suffix[1:], jnp.ones_like(suffix[:1])])

        def trace_pass(b: Array, c: tuple[Array, Array]) -> tuple[Array, Array]:
            trace, gradient = c
            old = trace[b]
            new = product[b] * old + u[:, b].T @ scaled[:, b]
            new, gradient = lax.optimization_barrier((new, gradient + old * pending[b]))  # or XLA copies the trace
            return lax.dynamic_update_slice(trace, new[None], (b, 0, 0)), gradient

        return (v, *lax.fori_loop(0, batch, trace_pass, (trace, gradient))), None

    folds = jax.tree.map(lambda a: a.reshape(-1, fold // window, window, *a.shape[1:]), (xs, ts))
    trace = jnp.zeros((batch, *w.shape), w.dtype)
    return lax.scan(fold_body, (v, trace, jnp.zeros_like(w)), folds)[0][2]


def _credit_from_later_windows(v_bar: Array, d: Array, window: int) -> Array:
    """What each step's new state is worth to the windows of the fold that come after its own, [fold, B, n]."""
    arrives = jnp.zeros((v_bar.shape[0], window, *v_bar.shape[1:]), d.dtype)
    arrives = arrives.at[:-1, -1].set(v_bar[1:]).reshape(d.shape)

    def back(credit: Array, a: tuple[Array, Array]) -> tuple[Array, Array]:
        credit = credit + a[0]
        return credit * a[1], credit

    return lax.scan(back, jnp.zeros_like(d[0]), (arrives, d), reverse=True)[1]
