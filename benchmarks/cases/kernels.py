"""Kernels of the Pallas backend beside XLA's code for the same, and learners with and without them.

A kernel is run many times in one program, so that a call's own time does not count. Where it is faster, its row ends
with the `Win` that `backends/pallas/wins.py` records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import models
from ..harness import Program, compare
from ..problem import Problem, bptt, online
from ..record import Record, time_records
from ..suite import Case, Settings

WINDOW = 16
GPU = ("gpu",)
PASSES = (
    ((64, 512, 512), 16, "float32"),
    ((64, 1024, 1024), 4, "float32"),
    ((64, 1024, 1024), 16, "float32"),
    ((64, 1024, 1024), 128, "float32"),
    ((64, 1024, 1024), 16, "bfloat16"),
    ((64, 1000, 1020), 16, "float32"),
)
"""Samples, rows and columns of a trace; steps; element type."""
HISTORIES = ((16, 16 * 64), (128, 16 * 64), (128, 64 * 1024))
"""Steps and positions of a unit's history."""
GRAPHS = (
    (131072, 8, 32, 8, "float32"),
    (131072, 8, 32, 16, "float32"),
    (16384, 64, 32, 16, "float32"),
    (131072, 8, 32, 16, "bfloat16"),
)
"""Neurons, edges into each, samples, steps; element type."""


def _random(key: int, *shape: int) -> Any:
    """Numbers such that a trace keeps its size however often it is advanced."""
    return jax.random.uniform(jax.random.key(key), shape, jnp.float32, -0.5, 0.5)


def _repeated(run: Callable[..., tuple[Any, Any]], times: int) -> Callable[..., Any]:
    """`run` on its own first result, so many times, its second results added up; nothing of it is done beforehand."""

    def whole(carried: Any, given: Any) -> Any:
        def once(k: Any, now: Any) -> Any:
            carried, total = now
            carried, own, _ = jax.lax.optimization_barrier((carried, given, k))
            carried, more = run(carried, own)
            return carried, jax.tree.map(jnp.add, total, more)

        kinds = jax.eval_shape(run, carried, given)[1]
        return jax.lax.fori_loop(0, times, once, (carried, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), kinds)))

    return whole


def _interpret(settings: Settings) -> Any:
    from etir.backends.pallas.target import plgpu

    return plgpu.InterpretGPUParams() if settings.dry else None


def _beside_xla(
    settings: Settings, title: str, kernel: str, of: Any, operands: tuple[Any, Any], traffic: int, size: int
) -> list[Record]:
    """Records of `of.by_definition` and of `of.launch`."""
    times = 1 if settings.dry else 50
    run = partial(Program, args=operands, donate=(0,), bytes_per_step=traffic)
    launch = partial(of.launch, interpret=_interpret(settings))
    programs = [
        run(name="xla", run=_repeated(of.by_definition, times)),
        run(name=kernel, run=_repeated(launch, times)),
    ]
    rows = compare(programs, steps=times, rounds=settings.rounds)
    records = time_records(title, rows, bandwidth=settings.bandwidth)
    if records[1].value < 1 and not settings.dry:
        card, ratio = jax.devices()[0].device_kind, 1 / records[1].value
        records[1] = replace(
            records[1], note=f"Win(kernel={kernel!r}, card={card!r}, ratio={ratio:.2f}, from_bytes={size})"
        )
    return records


def _rank_k(settings: Settings) -> Sequence[Record]:
    from etir.backends.pallas.rank_k import RankK

    records: list[Record] = []
    for size, steps, dtype in (((3, 20, 24), 4, "float32"),) if settings.dry else PASSES:
        n, rows, columns = size
        plan = RankK(
            outer=1, summed=n, samples=n, grouped=1, rows=rows, columns=columns, along=1, states=1,
            pairs=((0, 0),), fed=(0,), steps=steps, reads=True, dtype=dtype,
        )  # fmt: skip
        held = [_random(0, n, rows, columns).astype(dtype)]
        arrays: dict[str, Any] = {
            "jacobians": [_random(1, n, columns)],
            "credit": [_random(2, n, columns)],
            "sensitivities": [_random(3, steps, n, columns)],
            "data": _random(4, steps, n, rows),
        }
        title = f"pass over a trace, {n} x {rows} x {columns} {dtype}, {steps} steps"
        records += _beside_xla(settings, title, "rank-k", plan, (held, arrays), 2 * held[0].nbytes, held[0].nbytes)
    return records


def _suffix(settings: Settings) -> Sequence[Record]:
    from etir.backends.pallas.suffix import Suffix

    def step(carry: Any, at: Any) -> tuple[Any, Any]:
        (product, credit), (jacobian, sensitivity, arrived) = carry, at
        return [product * jacobian, credit * jacobian + arrived], [product * sensitivity, credit * sensitivity]

    records: list[Record] = []
    for steps, n in ((4, 200),) if settings.dry else HISTORIES:
        operands = [_random(0, n), _random(1, n)], [_random(2 + k, steps, n) for k in range(3)]
        title = f"sweep over a history, {steps} steps, {n} positions"
        records += _beside_xla(settings, title, "suffix", Suffix(step, steps), operands, 5 * steps * n * 4, n * 4)
    return records


def _edges(settings: Settings) -> Sequence[Record]:
    """The pass over a trace of edges, and the product of a site over them."""
    from etir.backends.pallas.edges import Edges

    records: list[Record] = []
    for neurons, degree, batch, steps, dtype in ((20, 2, 4, 3, "float32"),) if settings.dry else GRAPHS:
        edges, kind = neurons * degree, jnp.dtype(dtype)
        source = np.random.default_rng(0).integers(0, neurons, edges).astype(np.int32)
        target = np.repeat(np.arange(neurons, dtype=np.int32), degree)
        fixed: dict[str, Any] = {
            "source": source, "target": target, "lanes": batch, "fed": (0,), "steps": steps, "reads": True,
            "dtype": dtype,
        }  # fmt: skip
        arrays: dict[str, Any] = {
            "jacobians": [_random(1, batch, neurons)],
            "credit": [_random(2, batch, neurons)],
            "sensitivities": [_random(3, steps, batch, neurons)],
            "data": _random(4, steps, batch, neurons),
        }
        held, rows = [_random(0, batch, edges).astype(dtype)], 4 * steps * batch * edges
        title = f"{neurons} neurons, {degree} edges into each, B={batch}, {dtype}, {steps} steps"
        trace, size = Edges(**fixed, states=1, pairs=((0, 0),)), batch * edges * kind.itemsize
        records += _beside_xla(settings, f"pass over {title}", "edges", trace, (held, arrays), rows + 2 * size, size)
        product, arrays = Edges(**fixed, states=0, pairs=()), arrays | {"jacobians": [], "credit": []}
        records += _beside_xla(
            settings, f"product over {title}", "edge-product", product, ([], arrays), rows, 4 * batch * edges
        )
    return records


def _learner(name: str, make: Callable[..., Problem], rule: str, full: tuple[int, int]) -> Case:
    """The gradient of a sequence by XLA code alone and with kernels, beside BPTT."""

    def run(settings: Settings) -> Sequence[Record]:
        n, batch = (8, 2) if settings.dry else full
        of = make(n, batch, 2 * WINDOW if settings.dry else 512)
        xla, kernels = (online(of, rule, WINDOW, backend=backend) for backend in ("xla", "pallas"))
        programs = [replace(xla, name="xla", same_as=None), replace(kernels, name="pallas", same_as="xla"), bptt(of)]
        rows = compare(programs, steps=of.steps, rounds=settings.rounds)
        return time_records(f"{rule}, {name}, n={n}, B={batch}, T={of.steps}", rows, bandwidth=settings.bandwidth)

    return Case(f"{rule}, {name}", run, GPU, "a sequence by XLA code and with kernels, beside BPTT")


CASES = (
    Case("rank-k", _rank_k, GPU, "kernel 1 beside XLA's pass over the same trace"),
    Case("suffix", _suffix, GPU, "kernel 2 beside XLA's loop over the same history"),
    Case("edges", _edges, GPU, "kernel 3 beside XLA's code for the same, step by step"),
    _learner("LIF", models.lif, "d_rtrl", (512, 16)),
    _learner("small LIF", models.lif, "d_rtrl", (64, 16)),
    _learner("LSTM", models.lstm, "d_rtrl", (256, 16)),
    _learner("LIF", models.lif, "e_prop", (512, 16)),
    _learner("ALIF", models.alif, "e_prop", (512, 16)),
    _learner("sparse edges", models.sparse, "pp_prop", (131072, 32)),
    _learner("sparse edges", models.sparse, "d_rtrl", (131072, 32)),
)
