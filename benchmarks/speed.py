"""Time and memory of compiled learners, beside the same estimators by hand: `python -m benchmarks.speed`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import etir

from . import lif, tanh_rnn
from .harness import Program, compare, table
from .lif_windowed import d_rtrl_windowed


def online(name: str, learner: Any, loss: Callable[..., jax.Array], args: tuple[Any, ...], same_as: str) -> Program:
    """The learner as it is used: the carry goes in donated and comes out with the gradient of the one weight."""
    driver = learner.grad(loss)

    def run(params: Any, carry: Any, xs: jax.Array, ts: jax.Array) -> tuple[jax.Array, Any]:
        result = driver(params, carry, xs, ts)
        return result.grads["w"], result.carry

    return Program(name=name, run=run, args=args, gradients=lambda r: r[0], same_as=same_as, donate=(1,))


def compiled_lif(data: lif.Data, window: int) -> Program:
    """The compiled D-RTRL learner of the layer in `lif.py`."""
    params, states = {"w": data.w}, {"v": data.v}
    step = partial(lif.step, matmul=etir.matmul)
    learner = etir.compile(step, params, states, data.xs[0], rule="d_rtrl", window=window)
    args = params, learner.init(params, states), data.xs, data.ts
    return online(f"etir d_rtrl window={window}", learner, lif.loss, args, same_as=f"explicit window={window}")


def lif_programs(n: int, batch: int, steps: int) -> list[Program]:
    """BPTT first, then what was written by hand, then what was compiled."""
    data = lif.make_data(n, batch, steps)

    def by_hand(name: str, run: Callable[..., Any], same_as: str | None = None) -> Program:
        return Program(name=name, run=run, args=tuple(data), same_as=same_as)

    return [
        by_hand("bptt", lif.bptt),
        by_hand("classical d_rtrl", lif.d_rtrl_classical),
        *(by_hand(f"explicit window={k}", partial(lif.d_rtrl_explicit, window=k)) for k in (1, 16)),
        by_hand("by hand window=16", partial(d_rtrl_windowed, window=16, fold=64), "explicit window=16"),
        *(compiled_lif(data, k) for k in (16, 1)),
    ]


def rtrl_programs(n: int, window: int, steps: int) -> list[Program]:
    """Exact RTRL: BPTT first, then `jacfwd` by hand, then compiled."""
    data = tanh_rnn.make_data(n, steps)
    params, states = {"w": data.w}, {"h": data.h}
    step = partial(tanh_rnn.step, matmul=etir.matmul)
    learner = etir.compile(step, params, states, data.xs[0], rule="rtrl", window=window)
    args = params, learner.init(params, states), data.xs, data.ts
    return [
        Program(name="bptt", run=tanh_rnn.bptt, args=tuple(data)),
        Program(name="jacfwd rtrl", run=tanh_rnn.rtrl_jacfwd, args=tuple(data), same_as="bptt"),
        online(f"etir rtrl window={window}", learner, tanh_rnn.loss, args, same_as="bptt"),
    ]


def main() -> None:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    steps = 128 if options.quick else 512
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {jnp.zeros(()).dtype}")
    for n, batch in ((64, 4),) if options.quick else ((512, 16), (1024, 4)):
        rows = compare(lif_programs(n, batch, steps), steps=steps, rounds=options.rounds)
        print(table(f"\nLIF with dense recurrence, n={n}, B={batch}, T={steps}", rows), flush=True)
    n, window, steps = (16, 32, 64) if options.quick else (64, 32, 64)
    rows = compare(rtrl_programs(n, window, steps), steps=steps, rounds=options.rounds)
    print(table(f"\ntanh RNN without a batch, n={n}, T={steps}", rows))


if __name__ == "__main__":
    main()
