"""Compile time of stacks of recurrent layers: `taskset -c 0 python -m benchmarks.stacks`.

Each layer is a cell of `--units` units, all its weights traced, with a residual around it. `compile` is all until the
learner's `grad` runs (`etir.compile`, and tracing, lowering and XLA's compile of the driver), over tracing, lowering
and compiling `jax.jit(jax.grad(scan))` of the same model, in processor seconds, with nothing cached. `run` is the ratio
of the times of a call, interleaved.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp

import etir

from .deep import bptt, loss
from .harness import Program, distance, timed_call
from .models import gru_cell, lstm_cell

STEPS, WINDOW, BATCH = 256, 16, 4
Array = jax.Array
Cell = Callable[[Any, Any, Array], tuple[Any, Array]]


def lstm(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
    """A long short-term memory with one weight."""
    gates = jnp.split(jnp.concatenate([x, states["h"]], -1) @ params["w"], 4, -1)
    c, h = lstm_cell(dict(zip("ifgo", gates, strict=True)), states["c"])
    return {"h": h, "c": c}, h


def lstm_by_gates(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
    """A long short-term memory with a weight a gate."""
    u = jnp.concatenate([x, states["h"]], -1)
    c, h = lstm_cell({k: u @ params[k] for k in "ifgo"}, states["c"])
    return {"h": h, "c": c}, h


def gru(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
    """A gated recurrent unit, a weight a gate."""
    h = gru_cell(params, states["h"], x)
    return {"h": h}, h


CELLS: dict[str, tuple[Cell, dict[str, int], str]] = {
    "lstm": (lstm, {"w": 4}, "hc"),
    "lstm4": (lstm_by_gates, dict.fromkeys("ifgo", 1), "hc"),
    "gru": (gru, dict.fromkeys("rzg", 1), "h"),
}


def stack(cell: Cell, params: Any, states: Any, x: Array) -> tuple[Any, Array]:
    """A step of layers, each around a residual."""
    new: list[Any] = []
    for own, state in zip(params, states, strict=True):
        state, y = cell(own, state, x)
        new.append(state)
        x = x + y
    return new, x


def model(name: str, layers: int, units: int) -> tuple[Any, ...]:
    """A step, parameters, states, inputs and targets."""
    cell, weights, states = CELLS[name]
    keys = iter(jax.random.split(jax.random.key(0), layers * len(weights) + 2))
    size = (2 * units) ** -0.5
    params = [
        {k: jax.random.normal(next(keys), (2 * units, n * units)) * size for k, n in weights.items()}
        for _ in range(layers)
    ]
    start = [{k: jnp.zeros((BATCH, units)) for k in states} for _ in range(layers)]
    arrays = [jax.random.normal(next(keys), (STEPS, BATCH, units)) for _ in range(2)]
    return partial(stack, cell), params, start, *arrays


def seconds(make: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and the processor seconds it takes with nothing cached."""
    jax.clear_caches()
    start = time.process_time()
    made = make()
    return made, time.process_time() - start


def learner(step: Any, params: Any, states: Any, xs: Array, ts: Array) -> tuple[Program, Any]:
    """The compiled learner's gradient of the sequence."""
    x = jax.ShapeDtypeStruct(xs.shape[1:], xs.dtype)
    found = etir.compile(step, params, states, x, rule="d_rtrl", window=WINDOW, sites="auto", on_truncated="ignore")
    driver = found.grad(loss)
    args = (params, found.init(params, states), xs, ts)
    run = lambda *args: driver(*args).grads  # noqa: E731
    return Program(name="etir", run=run, args=args), jax.jit(run).lower(*args).compile()


def plain(step: Any, params: Any, states: Any, xs: Array, ts: Array) -> tuple[Program, Any]:
    """BPTT's."""
    args = (params, states, xs, ts)
    run = bptt(step)
    return Program(name="bptt", run=run, args=args), jax.jit(run).lower(*args).compile()


def line(name: str, layers: int, units: int, rounds: int) -> str:
    """One line of the table."""
    given = model(name, layers, units)
    spent: list[list[float]] = [[], []]
    made: list[Any] = [None, None]
    for _ in range(rounds):
        for k, make in enumerate((learner, plain)):
            made[k], s = seconds(lambda make=make: make(*given))
            spent[k].append(s)
    results = [timed_call(*of)[0] for of in made]
    times = [[timed_call(*of)[1] for of in made] for _ in range(7)]
    run = median(a / b for a, b in times)
    ours, theirs = (min(of) for of in spent)
    far = distance(*results)
    return f"{name:6} {layers:6d}  {ours:7.2f}  {theirs:7.2f}  {ours / theirs:7.2f}  {run:5.2f}  {far:.1e}"


def main(given: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="*", default=[5, 20, 50])
    parser.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=1, help="compilations of each; the least is taken")
    options = parser.parse_args(given)
    for make in (learner, plain):
        make(*model("gru", 1, 8))  # imports, and what a process does once
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}\n")
    print("cell   layers   etir s   bptt s  compile    run  gradients from BPTT's")
    for name in options.cells:
        for layers in options.layers:
            print(line(name, layers, options.units, options.rounds), flush=True)


if __name__ == "__main__":
    main()
