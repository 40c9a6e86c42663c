"""A differentiated step, the model alone, and what calling a learner costs: `python -m benchmarks.calls`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import optax

import etir

from . import lif
from .harness import Program, compare, distance, table

WARM = 8
"""Steps before the one that is timed, so that its trace is not zero."""


def step_programs(n: int, batch: int, donated: bool) -> list[Program]:
    """An SGD update by one step: training over a sequence of one, `jax.grad` through `learner.step`, and by hand."""
    data = lif.make_data(n, batch, WARM + 1)
    params, states, optimizer = {"w": data.w}, {"v": data.v}, optax.sgd(1e-4)
    learner = etir.compile(partial(lif.step, matmul=etir.matmul), params, states, data.xs[0], rule="d_rtrl")
    train = learner.train(lif.loss, optimizer)
    carry = learner.window(params, learner.init(), data.xs[:WARM])[0]

    def trained(params: Any, carry: Any, x: jax.Array, target: jax.Array) -> tuple[Any, Any]:
        found = train(params, optimizer.init(params), carry, x[None], target[None])
        return found.params, found.carry

    def stepped(params: Any, carry: Any, x: jax.Array, target: jax.Array) -> tuple[Any, Any]:
        def one(params: Any) -> tuple[jax.Array, Any]:
            after, y = learner.step(params, carry, x)
            return lif.loss(y, target), after

        grads, after = jax.grad(one, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 1e-4 * g, params, grads), after

    def moved(result: Any) -> Any:
        return result[0]["w"] - data.w

    def by_hand(params: Any, carry: Any, x: jax.Array, target: jax.Array) -> tuple[Any, Any]:
        gradient, *after = lif.d_rtrl_step(params["w"], carry[0], carry[1], x, target)
        return {"w": params["w"] - 1e-4 * gradient}, after

    now = data.xs[WARM], data.ts[WARM]
    args, plain = (params, carry, *now), (params, lif.traced(data.v, data.w, data.xs[:WARM]), *now)
    donate, same = (1,) if donated else (), "explicit"
    return [
        Program(name="train, T=1", run=trained, args=args, gradients=moved, donate=donate, same_as=same),
        Program(name="grad of step", run=stepped, args=args, gradients=moved, donate=donate, same_as=same),
        Program(name="explicit", run=by_hand, args=plain, gradients=moved, donate=donate),
    ]


def predict_programs(n: int, batch: int, steps: int) -> tuple[list[Program], list[Program]]:
    """A scan by hand and `learner.predict`: the model alone, and BPTT through it."""
    data = lif.make_data(n, batch, steps)
    params, states = {"w": data.w}, {"v": data.v}
    learner = etir.compile(partial(lif.step, matmul=etir.matmul), params, states, data.xs[0])

    def by_hand(params: Any, states: Any, xs: jax.Array) -> tuple[Any, jax.Array]:
        return jax.lax.scan(lambda now, x: lif.step(params, now, x), states, xs)

    def gradient(run: Callable[..., Any]) -> Callable[..., Any]:
        def total(params: Any, states: Any, xs: jax.Array) -> jax.Array:
            return jnp.sum(jax.vmap(lif.loss)(run(params, states, xs)[1], data.ts))

        return jax.grad(total)

    args, runs = (params, states, data.xs), {"scan by hand": by_hand, "predict": learner.predict}
    alone = [Program(name=name, run=run, args=args, gradients=lambda found: found[1]) for name, run in runs.items()]
    return alone, [Program(name=name, run=gradient(run), args=args) for name, run in runs.items()]


def dispatch(rounds: int) -> str:
    """Microseconds of one call after the other of a tiny model, without a `jax.jit` around it."""

    def model(params: Any, states: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        h = 0.5 * states["h"] + jnp.tanh(etir.matmul(x, params["w"]))
        return {"h": h}, h

    params, states, xs = {"w": jnp.full((3, 4), 0.1)}, {"h": jnp.zeros(4)}, jnp.ones((8, 3))
    learner, optimizer = etir.compile(model, params, states, xs[0]), optax.sgd(0.1)
    carry, opt_state, x = learner.init(), optimizer.init(params), xs[0]
    drive, train = learner.grad(lambda y: jnp.sum(y**2)), learner.train(lambda y: jnp.sum(y**2), optimizer)
    plain = jax.jit(model)
    calls: dict[str, Callable[[], Any]] = {
        "jax.jit of the model": lambda: plain(params, states, x),
        "learner.step": lambda: learner.step(params, carry, x),
        "learner.predict": lambda: learner.predict(params, states, xs),
        "learner.window": lambda: learner.window(params, carry, xs),
        "learner.grad(loss)": lambda: drive(params, carry, xs),
        "learner.train(loss, optimizer)": lambda: train(params, opt_state, carry, xs),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            results = [call() for _ in range(50)]
            times[name].append((time.perf_counter() - start) / 50 * 1e6)
            jax.block_until_ready(results)
    first = times["jax.jit of the model"]
    rows = [
        f"{name:32}{median(own):8.1f}{median(a / b for a, b in zip(own, first, strict=True)):8.2f}"
        for name, own in times.items()
    ]
    far = distance(learner.step(params, carry, x)[0].states, plain(params, states, x)[0])
    return "\n".join([f"{'':32}{'us':>8}{'x jit':>8}   (states of a step: {far:.1e} apart)", *rows])


def main() -> None:
    """Print one table for each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    n, steps = (64, 16) if options.quick else (512, 128)
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}, {jnp.zeros(()).dtype}")
    for batch in (16, 1):
        for donated in (True, False):
            rows = compare(step_programs(n, batch, donated), steps=1, rounds=options.rounds)
            trace = batch * (128 + n) * n * 4 / 2**20
            kept = "donated" if donated else "kept"
            print(table(f"\nLIF, n={n}, B={batch}, trace {trace:.1f} MiB, the carry {kept}", rows), flush=True)
    for what, programs in zip(("the model alone", "BPTT"), predict_programs(n, 16, steps), strict=True):
        rows = compare(programs, steps=steps, rounds=options.rounds)
        print(table(f"\nLIF, n={n}, B=16, T={steps}, {what}", rows), flush=True)
    print(f"\nCalls of a tiny model\n{dispatch(options.rounds)}")


if __name__ == "__main__":
    main()
