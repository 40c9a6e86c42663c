"""What UORO costs beside the model's own forward step: `python -m benchmarks.uoro`.

h' = tanh(h U + x V),   loss = |h' - target|^2,   U [n, n], V [inputs, n], h [B, n], float32

Times are interleaved in one run, and ratios are medians over rounds. Pin it to one core with `taskset -c 0`; on a
machine that others use too, `--cpu-time` leaves out what they take away. Beside the times stands how far the mean over
some keys is from BPTT, and how far chance alone would bring it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import etir

from .harness import Program, compiled, distance

Array = jax.Array


class Data(NamedTuple):
    """`params` U and V; `xs` [T, B, inputs], `ts` [T, B, n], `h` [B, n] zeros; all float32."""

    params: dict[str, Array]
    h: Array
    xs: Array
    ts: Array


def make_data(n: int, batch: int, steps: int, inputs: int = 64, seed: int = 0) -> Data:
    """Random weights with a recurrence of spectral radius near one, random sequences."""
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s) for s in ((n, n), (inputs, n), (steps, batch, inputs), (steps, batch, n))]
    U, V, xs, ts = (jnp.asarray(a, jnp.float32) for a in arrays)
    return Data({"U": U / n**0.5, "V": V / inputs**0.5}, jnp.zeros((batch, n)), xs, ts)


def step(params: Any, states: Any, x: Array, matmul: Callable[[Array, Array], Array] = jnp.matmul) -> tuple[Any, Array]:
    """One step as a model function."""
    h = jnp.tanh(matmul(states["h"], params["U"]) + matmul(x, params["V"]))
    return {"h": h}, h


def online_step(params: Any, states: Any, x: Array) -> tuple[Any, Array]:
    """The same through ETP operations."""
    return step(params, states, x, etir.matmul)


def loss(h: Array, target: Array) -> Array:
    """The squared distance to the target."""
    return jnp.sum((h - target) ** 2)


def forward(params: Any, h: Array, xs: Array, ts: Array) -> Any:
    """The model alone: its last state and its outputs."""
    del ts
    return lax.scan(lambda s, x: step(params, s, x), {"h": h}, xs)


def bptt(params: Any, h: Array, xs: Array, ts: Array) -> Any:
    """The exact gradient: `jax.grad` of a scan."""

    def total(params: Any) -> Array:
        def body(s: Any, xt: tuple[Array, Array]) -> tuple[Any, Array]:
            s, y = step(params, s, xt[0])
            return s, loss(y, xt[1])

        return lax.scan(body, {"h": h}, (xs, ts))[1].sum()

    return jax.grad(total)(params)


def by_hand(params: Any, h: Array, xs: Array, ts: Array) -> Any:
    """UORO as algorithm 1 of the paper has it, with JAX's own products and one key; read at each step's entry."""

    def advance(carry: Any, xt: tuple[Array, Array]) -> tuple[Any, None]:
        s, tangent, theta, total, key = carry
        key, own = jax.random.split(key)
        (new, y), pull = jax.vjp(lambda p, s: step(p, s, xt[0]), params, s)
        ((_, y_new), pushed) = jax.jvp(lambda s: step(params, s, xt[0]), (s,), (tangent,))
        del y_new
        zero = jax.tree.map(jnp.zeros_like, new)
        direct, entering = pull((zero, jax.grad(loss)(y, xt[1])))
        total = jax.tree.map(lambda g, d, c: g + d + _dot(entering, tangent) * c, total, direct, theta)
        signs = {"h": jax.random.rademacher(own, h.shape, h.dtype)}
        pulled, _ = pull((signs, jnp.zeros_like(y)))
        old, fresh = _ratio(theta, pushed[0]), _ratio(pulled, signs)
        tangent = jax.tree.map(lambda a, b: old * a + fresh * b, pushed[0], signs)
        theta = jax.tree.map(lambda a, b: a / old + b / fresh, theta, pulled)
        return (new, tangent, theta, total, key), None

    none = jax.tree.map(jnp.zeros_like, params)
    start = {"h": h}, {"h": jnp.zeros_like(h)}, none, none, jax.random.key(0)
    return lax.scan(advance, start, (xs, ts))[0][3]


def _dot(a: Any, b: Any) -> Array:
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _ratio(a: Any, b: Any, epsilon: float = 1e-7) -> Array:
    return jnp.sqrt(jnp.sqrt(_dot(a, a)) / (jnp.sqrt(_dot(b, b)) + epsilon)) + epsilon


def online(data: Data, rule: str, window: int) -> Program:
    """A compiled learner as it is used: the carry goes in donated and comes out with the gradient."""
    states = {"h": data.h}
    learner = etir.compile(
        online_step, data.params, states, data.xs[0], rule=rule, window=window, on_truncated="ignore"
    )
    driver = learner.grad(loss)

    def run(params: Any, carry: Any, xs: Array, ts: Array) -> Any:
        result = driver(params, carry, xs, ts)
        return result.grads, result.carry

    carry = learner.init(data.params, states, key=jax.random.key(1))
    return Program(
        name=f"etir {rule} window={window}", run=run, args=(data.params, carry, data.xs, data.ts), donate=(1,)
    )


def timed(programs: list[Program], steps: int, rounds: int, clock: Callable[[], float]) -> None:
    """Print a line for each program: microseconds a step, and the ratio to the first."""
    executables = [compiled(p)[0] for p in programs]
    times: list[list[float]] = [[] for _ in programs]
    for turn in range(rounds + 1):
        for k, (program, executable) in enumerate(zip(programs, executables, strict=True)):
            args = [jax.tree.map(jnp.copy, a) if i in program.donate else a for i, a in enumerate(program.args)]
            jax.block_until_ready(args)
            start = clock()
            jax.block_until_ready(executable(*args))
            if turn:  # the first warms up
                times[k].append((clock() - start) / steps * 1e6)
    for program, own in zip(programs, times, strict=True):
        ratio = median(mine / first for mine, first in zip(own, times[0], strict=True))
        print(f"{program.name:24} {median(own):8.1f} us a step  {ratio:6.2f} x {programs[0].name}", flush=True)


def unbiased(keys: int = 512) -> None:
    """Print how far the mean over keys is from BPTT, and the standard error of that mean, relative to the gradient."""
    data = make_data(8, 2, 12, inputs=4)
    states = {"h": data.h}
    learner = etir.compile(online_step, data.params, states, data.xs[0], rule="uoro")
    wanted = bptt(*data)

    @jax.jit
    def estimates(keys: Any) -> Any:
        run = learner.grad(loss)
        return jax.vmap(lambda k: run(data.params, learner.init(data.params, states, key=k), data.xs, data.ts).grads)(
            keys
        )

    found = estimates(jax.random.split(jax.random.key(2), keys))
    mean = jax.tree.map(lambda g: g.mean(0), found)
    spread = jax.tree.map(lambda g: g.std(0) / keys**0.5, found)
    chance = distance(jax.tree.map(jnp.add, wanted, spread), wanted)
    print(f"mean of {keys} keys, n=8, B=2, T=12: {distance(mean, wanted):.3f} from BPTT; standard error {chance:.3f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cpu-time", action="store_true", help="processor time of this process instead of wall time")
    options = parser.parse_args()
    n, batch, steps = (32, 4, 32) if options.quick else (256, 16, 512)
    data = make_data(n, batch, steps)
    plain = [Program(name=f.__name__, run=f, args=tuple(data)) for f in (forward, bptt, by_hand)]
    learners = [online(data, rule, window) for rule, window in (("bptt", 1), ("uoro", 1), ("bptt", 16), ("uoro", 16))]
    clock = time.process_time if options.cpu_time else time.perf_counter
    print(f"jax {jax.__version__}, {jax.devices()[0].device_kind}; tanh RNN, n={n}, B={batch}, T={steps}")
    timed([*plain, *learners], steps, options.rounds, clock)
    unbiased()


if __name__ == "__main__":
    main()
