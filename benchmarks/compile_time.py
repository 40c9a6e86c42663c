"""Time until a learner runs: `python -m benchmarks.compile_time` prints three tables.

The first shows what `etir.analyse` costs beside `jax.make_jaxpr` of the same step, in processor seconds: an unrolled
chain of element-wise operations with ten sites, and a stack of layers. Medians of three, interleaved. The second shows
lowering, analysis and planning of ever deeper stacks. The third shows everything until the learner runs, beside
`jax.jit(jax.grad(scan))` of the same model: `passes` is the second table's sum; `xla` is tracing, lowering and
compiling what the learner emits. The sequence has two folds of several windows, so that all of the driver's loops are
compiled. The distance is between the two gradients of the sequence: rounding for the tails, and for the stacks, whose
weights meet the state, what D-RTRL leaves out.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import etir

from . import deep
from .harness import Program, compiled, distance

STEPS, WINDOW = 256, 16
Model = tuple[deep.Step, Any, Any, jax.Array]


def analysis(name: str, model: Model) -> str:
    """One line of the first table."""
    step, *values = model
    lowered = etir.lower(step, *values)
    taken: list[tuple[float, float]] = []
    for _ in range(3):
        start = time.process_time()
        jaxpr = jax.make_jaxpr(lambda *args: step(*args))(*values)  # a new function: JAX remembers traces
        between = time.process_time()
        etir.analyse(lowered)
        taken.append((between - start, time.process_time() - between))
    traced, analysed = (statistics.median(column) for column in zip(*taken, strict=True))
    return f"{name:12}  {len(jaxpr.eqns):9d}  {traced:12.3f}  {analysed:9.3f}  {analysed / traced:5.2f}"


def passes(layers: int) -> str:
    """One line of the second table."""
    step, params, states, x = deep.stacked_model(layers, matmul=etir.matmul)
    equations = len(jax.make_jaxpr(step)(params, states, x).eqns)
    start = time.perf_counter()
    lowered = etir.lower(step, params, states, x)
    after_lower = time.perf_counter()
    analysed = etir.analyse(lowered)
    after_analyse = time.perf_counter()
    etir.plan(analysed, "d_rtrl", window=WINDOW)
    end = time.perf_counter()
    return (
        f"{layers:6d}  {equations:9d}  {after_lower - start:7.2f}  {after_analyse - after_lower:9.2f}"
        f"  {end - after_analyse:6.2f}  {(end - start) / equations * 1e3:11.3f}"
    )


def whole(name: str, model: Model) -> str:
    """One line of the third table."""
    step, params, states, x = model
    xs = jnp.stack([x * (0.1 + i / STEPS) for i in range(STEPS)])
    ts = jnp.zeros((STEPS, *step(params, states, x)[1].shape))

    start = time.perf_counter()
    learner = etir.compile(step, params, states, x, rule="d_rtrl", window=WINDOW, on_truncated="ignore")
    analysed = time.perf_counter() - start

    driver = learner.grad(deep.loss)
    online = Program(
        name=name,
        run=lambda params, carry, xs, ts: driver(params, carry, xs, ts).grads,
        args=(params, learner.init(params, states), xs, ts),
    )
    plain = Program(name=name, run=deep.bptt(step), args=(params, states, xs, ts))
    (run_online, xla), (run_plain, bptt) = compiled(online), compiled(plain)
    far = distance(run_online(*online.args), run_plain(*plain.args))
    return f"{name:26}  {analysed:8.2f}  {xla:7.2f}  {bptt:7.2f}  {(analysed + xla) / bptt:10.2f}  {far:.1e}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="*", default=[10, 100, 1000], help="depths for the second table")
    parser.add_argument("--equations", type=int, nargs="*", default=[1000, 10_000, 100_000], help="for the first table")
    options = parser.parse_args()
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}\n")
    print("analyse       equations  make_jaxpr s  analyse s  ratio")
    for count in options.equations:
        print(analysis("chain", deep.chain_model(count, matmul=etir.matmul)), flush=True)
        if count <= 10_000:  # a third of them are layers
            print(analysis("stack", deep.stacked_model(count // 3, matmul=etir.matmul)), flush=True)

    print("\nlayers  equations  lower s  analyse s  plan s  ms/equation")
    for layers in options.layers:
        print(passes(layers), flush=True)

    print(f"\n{'':26}  passes s    xla s   bptt s  total/bptt  distance")
    makers: dict[str, Callable[[], Model]] = {
        "1 weight, long tail": lambda: deep.tail_model(1, matmul=etir.matmul, summed=True),
        "16 weights, one sum, tail": lambda: deep.tail_model(16, matmul=etir.matmul, summed=True),
        "16 weights, own places": lambda: deep.tail_model(16, matmul=etir.matmul, summed=False),
        **{f"{k} layers": lambda k=k: deep.stacked_model(k, matmul=etir.matmul) for k in (10, 50)},
    }
    for name, make in makers.items():
        print(whole(name, make()), flush=True)


if __name__ == "__main__":
    main()
