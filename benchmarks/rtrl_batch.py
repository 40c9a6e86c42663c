"""Exact RTRL of a batch, beside `vmap` of the learner of one sample: `python -m benchmarks.rtrl_batch`.

Samples do not meet, so a batched learner should take no longer than one learner a sample, side by side.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import etir

from . import tanh_rnn
from .harness import Program, compare, table


def batched(n: int, batch: int, window: int, steps: int) -> list[Program]:
    """BPTT first, then one learner for each sample under `vmap`, then the learner of the batch."""
    data = tanh_rnn.make_data(n, steps, inputs=n)
    shape = (steps, batch, n)
    xs, ts = (jax.random.normal(jax.random.key(k), shape, data.w.dtype) for k in (0, 1))
    step, params = partial(tanh_rnn.step, matmul=etir.matmul), {"w": data.w}
    one, many = {"h": data.h}, {"h": jnp.zeros((batch, n), data.w.dtype)}
    alone = etir.compile(step, params, one, xs[0, 0], rule="rtrl", window=window)
    together = etir.compile(step, params, many, xs[0], rule="rtrl", window=window)
    carries = jax.vmap(lambda h: alone.init(params, {"h": h}))(many["h"])
    side_by_side = jax.vmap(alone.grad(tanh_rnn.loss), in_axes=(None, 0, 1, 1))

    def bptt(w: Any, xs: Any, ts: Any) -> Any:
        return jax.vmap(tanh_rnn.bptt, in_axes=(None, None, 1, 1))(w, data.h, xs, ts).sum(0)

    def each(params: Any, carry: Any, xs: Any, ts: Any) -> Any:
        result = side_by_side(params, carry, xs, ts)
        return result.grads["w"].sum(0), result.carry

    def batch_of(params: Any, carry: Any, xs: Any, ts: Any) -> Any:
        result = together.grad(tanh_rnn.loss)(params, carry, xs, ts)
        return result.grads["w"], result.carry

    def program(name: str, run: Any, carry: Any) -> Program:
        args = (params, carry, xs, ts)
        return Program(name=name, run=run, args=args, gradients=lambda r: r[0], same_as="bptt", donate=(1,))

    return [
        program(f"vmap of one, window={window}", each, carries),
        Program(name="bptt", run=bptt, args=(data.w, xs, ts)),
        program(f"batch, window={window}", batch_of, together.init(params, many)),
    ]


def main() -> None:
    """Print one table for each window."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    n, batch, steps = (8, 4, 16) if options.quick else (32, 8, 64)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {jnp.zeros(()).dtype}")
    for window in (1, 16):
        rows = compare(batched(n, batch, window, steps), steps=steps, rounds=options.rounds)
        print(table(f"\ntanh RNN, exact RTRL, n={n}, B={batch}, T={steps}", rows), flush=True)


if __name__ == "__main__":
    main()
