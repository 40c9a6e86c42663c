"""Sequences of two lengths by one program: `python -m benchmarks.lengths`.

Of `learner.grad` and `learner.train`, as they are and with `piece=`: processor seconds of the first call at one length
and at another, less those of a call of what is compiled; then the processor time of a call of pieces as a multiple of
that of the whole sequence, interleaved, with the distance between what the two return.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import optax

import etir

from . import models
from .harness import distance
from .problem import Problem, squared

RULE, PIECE = "d_rtrl", 256


def drivers(of: Problem, rule: str, window: int, piece: int | None) -> dict[str, Callable[..., Any]]:
    """`grad` and `train` of a fresh learner, as functions of inputs and targets."""
    options: dict[str, Any] = {"sites": "auto", "on_truncated": "ignore"}
    learner = etir.compile(of.step, of.params, of.states, of.xs[0], rule=rule, window=window, **options)
    optimizer, carry = optax.sgd(1e-6), learner.init(key=jax.random.key(0))
    grad, train = learner.grad(squared, piece=piece), learner.train(squared, optimizer, piece=piece)
    begin = of.params, optimizer.init(of.params), carry
    return {
        "grad": lambda xs, ts: grad(of.params, carry, xs, ts),
        "train": lambda xs, ts: train(*begin, xs, ts),
    }


def seconds(run: Callable[..., Any], *given: Any) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    jax.block_until_ready(run(*given))
    return time.process_time() - start


def compiling(run: Callable[..., Any], *given: Any) -> float:
    """Processor seconds of a first call, less those of a second."""
    first = seconds(run, *given)
    return first - seconds(run, *given)


def line(name: str, of: Problem, rule: str, window: int, rounds: int) -> list[str]:
    """Of both drivers."""
    steps = len(of.xs)
    whole, pieces = (drivers(of, rule, window, piece) for piece in (None, PIECE))
    lines: list[str] = []
    for driver, run in whole.items():
        by_pieces = pieces[driver]
        half = of.xs[: steps // 2], of.ts[: steps // 2]
        taken = [compiling(f, *given) for f in (run, by_pieces) for given in (half, (of.xs, of.ts))]
        found, wanted = by_pieces(of.xs, of.ts), run(of.xs, of.ts)
        far = distance((found[0], found.losses), (wanted[0], wanted.losses))
        ratios: list[float] = []
        for _ in range(rounds):
            taken_once = [seconds(f, of.xs, of.ts) for f in (run, by_pieces)]
            ratios.append(taken_once[1] / taken_once[0])
        first = f"{name:24} {driver:5}  {taken[0]:5.2f}, {taken[1]:5.2f}   {taken[2]:5.2f}, {taken[3]:5.2f}"
        lines.append(f"{first}   {median(ratios):5.2f} ({min(ratios):4.2f} to {max(ratios):4.2f})   {far:.0e}")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: it runs, and concludes nothing")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    n, batch, steps = (16, 2, 2 * PIECE) if asked.quick else (512, 16, 4 * PIECE)
    cases = [
        ("LIF, d_rtrl, window 16", models.lif(n, batch, steps), RULE, 16),
        ("LIF, d_rtrl, window 1", models.lif(n, batch, steps), RULE, 1),
        ("LSTM, d_rtrl, window 16", models.lstm(n // 2, batch, steps), RULE, 16),
        ("LIF, pp_prop, window 1", models.lif(n, batch, steps), "pp_prop", 1),
        ("LIF, e_prop, window 16", models.lif(n // 4, batch, steps), "e_prop", 16),
    ]
    print(f"jax {jax.__version__}; compiling, s: T = {steps // 2}, then {steps}; time of a call, pieces / whole")
    print(f"{'':24} {'':5}  {'whole':12}   {'pieces':12}   {'time':5}   distance")
    for name, of, rule, window in cases:
        print("\n".join(line(name, of, rule, window, asked.rounds)), flush=True)


if __name__ == "__main__":
    main()
