"""A layer of leaky integrate-and-fire neurons with dense recurrence, and its gradients written by hand in plain JAX.

    u = [x, spike(v - 1)],   v' = 0.9 v - spike(v - 1) + u W,   loss = mean over the batch of |v' - target|^2

`W` has the shape [inputs + n, n]. `xs` is [T, B, inputs], `ts` is [T, B, n]; each gradient is that of the sum over T.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array = jax.Array


@jax.custom_jvp
def spike(v: Array) -> Array:
    """1 above threshold, 0 below; its derivative is a triangle of height 0.3 and half-width 1."""
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _spike_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (v,), (t,) = primals, tangents
    return spike(v), t * jnp.maximum(0.0, 1.0 - jnp.abs(v)) * 0.3


class Data(NamedTuple):
    """Weights and sequences: `w` [inputs + n, n], `v` [B, n], `xs` [T, B, inputs], `ts` [T, B, n], all float32."""

    w: Array
    v: Array
    xs: Array
    ts: Array


def make_data(n: int, batch: int, steps: int, inputs: int = 128, seed: int = 0) -> Data:
    """Data at a scale at which about a quarter of the neurons spike at each step."""
    rng = np.random.default_rng(seed)
    drive = rng.normal(size=(inputs, n)) * 2 / inputs**0.5
    recurrence = rng.normal(size=(n, n)) / n**0.5
    return Data(
        jnp.asarray(np.concatenate([drive, recurrence]), jnp.float32),
        jnp.zeros((batch, n), jnp.float32),
        jnp.asarray(rng.normal(size=(steps, batch, inputs)), jnp.float32),
        jnp.asarray(rng.normal(size=(steps, batch, n)), jnp.float32),
    )


def site_input(v: Array, x: Array) -> Array:
    """What the weight is multiplied with: the input and last step's spikes."""
    return jnp.concatenate([x, spike(v - 1.0)], -1)


def hidden(v: Array, y: Array) -> Array:
    """The new membrane potential, given the weighted input `y`."""
    return 0.9 * v - spike(v - 1.0) + y


def step(params: Any, states: Any, x: Array, matmul: Callable[[Array, Array], Array] = jnp.matmul) -> tuple[Any, Array]:
    """One step as a model function; `params` is `{"w": W}`, `states` is `{"v": v}`, the output is the new `v`."""
    v = hidden(states["v"], matmul(site_input(states["v"], x), params["w"]))
    return {"v": v}, v


def loss(v: Array, target: Array) -> Array:
    """The squared distance to the target, summed over neurons, averaged over the batch."""
    return jnp.mean(jnp.sum((v - target) ** 2, -1))


def _run(v: Array, w: Array, xs: Array, ts: Array) -> tuple[Array, Array]:
    def body(v: Array, xt: tuple[Array, Array]) -> tuple[Array, Array]:
        v = hidden(v, site_input(v, xt[0]) @ w)
        return v, loss(v, xt[1])

    v, losses = lax.scan(body, v, (xs, ts))
    return losses.sum(), v


def bptt(w: Array, v: Array, xs: Array, ts: Array) -> Array:
    """The exact gradient: `jax.grad` of a scan over the whole sequence."""
    return jax.grad(lambda w: _run(v, w, xs, ts)[0])(w)


def _advance(v: Array, trace: Array, w: Array, x: Array) -> tuple[Array, Array]:
    """One step of the state and of its trace [B, inputs + n, n], with the diagonal of dv'/dv alone."""
    u = site_input(v, x)
    y = u @ w
    new, pull = jax.vjp(hidden, v, y)
    diagonal, sensitivity = pull(jnp.ones_like(v))
    return new, diagonal[:, None, :] * trace + jnp.einsum("bi,bj->bij", u, sensitivity)


def _no_trace(w: Array, v: Array) -> Array:
    return jnp.zeros((v.shape[0], *w.shape), w.dtype)


def d_rtrl_classical(w: Array, v: Array, xs: Array, ts: Array) -> Array:
    """D-RTRL as in the literature: advance the trace, then contract it with dl/dv' at every step (`credit="rule"`)."""

    def body(carry: tuple[Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        v, trace, gradient = carry
        more, v, trace = d_rtrl_classical_step(w, v, trace, *xt)
        return (v, trace, gradient + more), None

    return lax.scan(body, (v, _no_trace(w, v), jnp.zeros_like(w)), (xs, ts))[0][2]


def d_rtrl_explicit(w: Array, v: Array, xs: Array, ts: Array, *, window: int) -> Array:
    """The window identity with a trace advanced at every step: reverse mode inside, `<dl/dv, E>` at the entry."""

    def body(carry: tuple[Array, Array, Array], xt: tuple[Array, Array]) -> tuple[Any, None]:
        v, trace, gradient = carry
        v_bar, w_bar = jax.grad(lambda v, w: _run(v, w, *xt)[0], (0, 1))(v, w)
        gradient = gradient + w_bar + jnp.einsum("bij,bj->ij", trace, v_bar)
        (v, trace), _ = lax.scan(lambda c, x: (_advance(*c, w, x), None), (v, trace), xt[0])
        return (v, trace, gradient), None

    windows = jax.tree.map(lambda a: a.reshape(-1, window, *a.shape[1:]), (xs, ts))
    return lax.scan(body, (v, _no_trace(w, v), jnp.zeros_like(w)), windows)[0][2]


def traced(v: Array, w: Array, xs: Array) -> tuple[Array, Array]:
    """The state and its trace after a sequence, from no trace."""
    return lax.scan(lambda c, x: (_advance(*c, w, x), None), (v, _no_trace(w, v)), xs)[0]


def d_rtrl_step(w: Array, v: Array, trace: Array, x: Array, target: Array) -> tuple[Array, Array, Array]:
    """The window identity for one step: the gradient of its loss, the new state and the new trace."""
    v_bar, w_bar = jax.grad(lambda v, w: loss(hidden(v, site_input(v, x) @ w), target), (0, 1))(v, w)
    return w_bar + jnp.einsum("bij,bj->ij", trace, v_bar), *_advance(v, trace, w, x)


def d_rtrl_classical_step(w: Array, v: Array, trace: Array, x: Array, target: Array) -> tuple[Array, Array, Array]:
    """One step of D-RTRL as in the literature: the gradient of its loss, the new state and the new trace."""
    v, trace = _advance(v, trace, w, x)
    return jnp.einsum("bij,bj->ij", trace, jax.grad(loss)(v, target)), v, trace
