"""The best that was found by hand for the ALIF layer of `models.py`: windowed D-RTRL by folds of one scan backwards.

It shows what a compiler may hope for where two states are coupled: five products a step, where BPTT takes three.
Forwards is stored what BPTT stores. Backwards go the cotangent inside a window, the credit of later windows, and the
products of the Jacobians to the fold's end. Then each sample's data are multiplied once with all that takes them: the
factors of both traces, and the cotangents of the layer's own product.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from .harness import Program
from .lif import spike
from .problem import Problem

Array = jax.Array


def by_hand(of: Problem, *, window: int, fold: int) -> Program:
    """The estimator of `problem.online(of, "d_rtrl", window)` for `models.alif`, its carry included."""
    steps, batch, inputs = of.xs.shape
    n = of.states["v"].shape[-1]

    def run(params: Any, carry: Any, xs: Array, ts: Array) -> Any:
        w = params["w"]
        back = lax.optimization_barrier(w[inputs:].T)  # else each product packs it anew
        rows = [jnp.zeros((fold, batch, k)) for k in (n, n, n, len(w), n, n, n)]

        def one_fold(k: Any, now: Any) -> Any:
            v, a, *traces, grad, rows = now

            def forward(i: Any, now: Any) -> Any:
                v, a, rows = now
                z = spike(v - 1.0 - 0.4 * a)
                data = jnp.concatenate([_at(xs, k * fold + i), z], -1)
                new = 0.85 * v - z + data @ w
                bar = 2.0 * (new - _at(ts, k * fold + i)) / batch
                return new, 0.95 * a + z, [*map(_put, rows[:4], (v, a, bar, data), [i] * 4), *rows[4:]]

            v, a, rows = lax.fori_loop(0, fold, forward, (v, a, rows))

            def backward(j: Any, now: Any) -> Any:
                inside, later, of_v, of_a, found = now
                i = fold - 1 - j
                v, a, bar = (_at(x, i) for x in rows[:3])
                h = jax.vjp(spike, v - 1.0 - 0.4 * a)[1](jnp.ones_like(v))[0]
                d = 0.85 - h, 0.4 * h, h, 0.95 - 0.4 * h
                sent = inside[0] + bar
                through = (sent @ back) * h
                new = [x + y for x, y in zip(_times((sent, inside[1]), d), (through, -0.4 * through), strict=True)]
                found = [*map(_put, found, (of_v[0], of_a[0], sent + later[0]), [i] * 3)]
                begins = i % window == 0
                later = [x + jnp.where(begins, y, 0.0) for x, y in zip(_times(later, d), new, strict=True)]
                inside = [jnp.where(begins, 0.0, x) for x in new]
                return inside, later, _times(of_v, d), _times(of_a, d), found

            no, one = jnp.zeros_like(v), jnp.ones_like(v)
            start = [no, no], [no, no], [one, no], [no, one], rows[4:]
            _, later, of_v, of_a, found = lax.fori_loop(0, fold, backward, start)
            lines = lax.optimization_barrier(jnp.transpose(rows[3], (1, 2, 0)))

            def entry(b: Any, now: Any) -> Any:
                *traces, grad = now
                old = [_at(e, b) for e in traces]
                wide = jnp.concatenate([lax.dynamic_index_in_dim(x, b, 1, keepdims=False) for x in found], -1)
                *more, own = jnp.split(_at(lines, b) @ wide, 3, -1)
                read = sum(_at(c, b) * e for c, e in zip(later, old, strict=True))
                new = [
                    sum(_at(p, b) * e for p, e in zip(of, old, strict=True)) + x
                    for of, x in zip((of_v, of_a), more, strict=True)
                ]
                new, grad = lax.optimization_barrier((new, grad + own + read))
                return *map(_put, traces, new, [b] * 2), grad

            return v, a, *lax.fori_loop(0, batch, entry, (*traces, grad)), [*rows[:4], *found]

        *carry, grad, _ = lax.fori_loop(0, steps // fold, one_fold, (*carry, jnp.zeros_like(w), rows))
        return {"w": grad}, carry

    traces = [jnp.zeros((batch, *of.params["w"].shape)) for _ in "va"]
    args = of.params, [of.states["v"], of.states["a"], *traces], of.xs, of.ts
    return Program(name="by hand", run=run, args=args, gradients=lambda r: r[0], donate=(1,), same_as="bptt")


def _at(rows: Array, at: Any) -> Array:
    return lax.dynamic_index_in_dim(rows, at, keepdims=False)


def _put(rows: Array, row: Array, at: Any) -> Array:
    return lax.dynamic_update_index_in_dim(rows, row, at, 0)


def _times(row: Any, d: Any) -> list[Array]:
    """A row of two times the Jacobian of a step."""
    return [row[0] * d[0] + row[1] * d[2], row[0] * d[1] + row[1] * d[3]]
