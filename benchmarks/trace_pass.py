"""Kernel 1 beside XLA's pass over the same trace, and beside a copy of it: `python -m benchmarks.trace_pass`.

It wants a GPU. A row whose kernel is faster is printed as the `Win` that `backends/pallas/wins.py` records. `--quick`
only shows, by interpreting the kernel, that everything runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

from etir.backends.pallas.rank_k import RankK
from etir.backends.pallas.target import plgpu

from .harness import Program, compiled, distance, timed_call

SIZES = ((64, 256, 256), (64, 512, 512), (16, 1024, 1024), (64, 1024, 1024), (64, 2048, 2048), (64, 1000, 1020))
"""Samples, rows and columns."""


def plan_of(size: tuple[int, int, int], steps: int, dtype: str, states: int) -> RankK:
    """The launch for traces of one size."""
    samples, rows, columns = size
    each = tuple((k, k) for k in range(states))
    return RankK(
        outer=1, summed=samples, samples=samples, grouped=1, rows=rows, columns=columns, along=1, states=states,
        pairs=each, fed=tuple(range(states)), steps=steps, reads=True, dtype=dtype,
    )  # fmt: skip


def operands(plan: RankK) -> tuple[list[Any], dict[str, Any]]:
    """Random traces and arrays, such that a trace keeps its size however often it is advanced."""

    def array(key: int, *shape: int) -> Any:
        return jax.random.uniform(jax.random.key(key), shape, jnp.float32, -0.5, 0.5)

    n, states = plan.summed, range(plan.states)
    arrays: dict[str, Any] = {
        "jacobians": [array(k, n, plan.columns) for k in states],
        "credit": [array(10 + k, n, plan.columns) for k in states],
        "sensitivities": [array(20 + k, plan.steps, n, plan.columns) for k in states],
        "data": array(30, plan.steps, n, plan.rows),
    }
    return [array(40 + k, n, *plan.matrix).astype(plan.dtype) for k in states], arrays


def times(programs: Sequence[Program], rounds: int) -> tuple[list[float], float]:
    """The median of each one's seconds, interleaved, and how far the second one's results are from the first one's."""
    executables = [compiled(program)[0] for program in programs]
    results = [timed_call(p, e)[0] for p, e in zip(programs, executables, strict=True)]
    found = [[timed_call(p, e)[1] for p, e in zip(programs, executables, strict=True)] for _ in range(rounds)]
    wide = [jax.tree.map(lambda x: x.astype(jnp.float32), r) for r in results[:2]]
    return [median(column) for column in zip(*found, strict=True)], distance(wide[1], wide[0])


def main() -> None:
    """Print one row for each size, number of steps, and element type."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one tiny size, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    card, interpret = jax.devices()[0].device_kind, plgpu.InterpretGPUParams() if options.quick else None
    print(f"{card}, jax {jax.__version__}")
    print("trace                steps  xla ms  kernel ms  ratio  of copy  distance")
    for size in ((3, 20, 24),) if options.quick else SIZES:
        for steps, dtype in ((4, "float32"), (16, "float32"), (16, "bfloat16"), (128, "float32")):
            plan = plan_of(size, steps, dtype, 1)
            held, arrays = operands(plan)
            run = partial(Program, args=(held, arrays), donate=(0,))
            programs = [
                run(name="xla", run=plan.by_definition),
                run(name="rank-k", run=partial(plan.launch, interpret=interpret)),
                run(name="copy", run=lambda held, arrays: [x * jnp.asarray(1.5, x.dtype) for x in held]),
            ]
            (xla, kernel, copy), far = times(programs, 1 if options.quick else options.rounds)
            what = f"{'x'.join(map(str, size))} {dtype}"
            print(
                f"{what:<20} {steps:>5} {xla * 1e3:>7.3f} {kernel * 1e3:>10.3f} {xla / kernel:>6.2f} "
                f"{copy / kernel:>8.2f} {far:>9.1e}"
            )
            if kernel < xla and not options.quick:
                size_in_bytes = sum(x.nbytes for x in held)
                print(f"  Win(kernel='rank-k', card={card!r}, ratio={xla / kernel:.2f}, from_bytes={size_in_bytes})")


if __name__ == "__main__":
    main()
