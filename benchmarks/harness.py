"""Timing several programs that should give the same gradients, interleaved in one run.

Two programs are compared by the median over rounds of the ratio of their times in one round, so that a busy machine
slows both. No time is printed without the distance between the gradients it was spent on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import jax
import jax.numpy as jnp


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A function of `args`; `gradients` picks a pytree of its result; `same_as` names the program it must equal."""

    name: str
    run: Callable[..., Any]
    args: tuple[Any, ...]
    gradients: Callable[[Any], Any] = lambda result: result
    same_as: str | None = None
    donate: tuple[int, ...] = ()
    """Arguments that the program may overwrite; each call gets copies, made outside the timed part."""
    bytes_per_step: int | None = None
    """The least that the algorithm must read and write a step, where its traffic is what bounds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one program: times in ms a step, temporary bytes, distances of gradients.

    `ratio` is the median over rounds, `spread` half the distance between the quartiles.
    """

    name: str
    compile_seconds: float
    ms_per_step: float
    ratio: float
    spread: float
    temp_bytes: int
    distance_from_first: float
    distance_from_same: float | None
    same_as: str | None
    bytes_per_step: int | None


def distance(gradients: Any, reference: Any) -> float:
    """The norm of the difference over the norm of the reference, over all leaves together."""
    pairs = list(zip(jax.tree.leaves(gradients), jax.tree.leaves(reference), strict=True))
    far = sum(float(jnp.sum(jnp.abs(a - b) ** 2)) for a, b in pairs)
    size = sum(float(jnp.sum(jnp.abs(b) ** 2)) for _, b in pairs)
    return (far / size) ** 0.5 if size else float("nan")


def compiled(program: Program) -> tuple[Any, float]:
    """The program's executable, and the seconds spent on tracing, lowering and compiling it."""
    start = time.perf_counter()
    executable = jax.jit(program.run, donate_argnums=program.donate).lower(*program.args).compile()
    return executable, time.perf_counter() - start


def timed_call(program: Program, executable: Any) -> tuple[Any, float]:
    """The program's result and the seconds it took, device work included."""
    args = [jax.tree.map(jnp.copy, a) if i in program.donate else a for i, a in enumerate(program.args)]
    jax.block_until_ready(args)
    start = time.perf_counter()
    result = jax.block_until_ready(executable(*args))
    return result, time.perf_counter() - start


def compare(programs: Sequence[Program], *, steps: int, rounds: int = 5) -> list[Row]:
    """One row for each program; ratios and distances are to the first one. Every program runs once more, to warm up."""
    executables, seconds = zip(*(compiled(p) for p in programs), strict=True)
    gradients = {p.name: p.gradients(timed_call(p, e)[0]) for p, e in zip(programs, executables, strict=True)}
    times: list[list[float]] = [[] for _ in programs]
    for shift in range(rounds):
        for i in range(len(programs)):
            at = (i + shift) % len(programs)
            times[at].append(timed_call(programs[at], executables[at])[1])
    ratios = [[mine / first for mine, first in zip(own, times[0], strict=True)] for own in times]
    return [
        Row(
            name=p.name,
            compile_seconds=seconds[i],
            ms_per_step=median(times[i]) / steps * 1e3,
            ratio=median(ratios[i]),
            spread=_spread(ratios[i]),
            temp_bytes=executables[i].memory_analysis().temp_size_in_bytes,
            distance_from_first=distance(gradients[p.name], gradients[programs[0].name]),
            distance_from_same=distance(gradients[p.name], gradients[p.same_as]) if p.same_as else None,
            same_as=p.same_as,
            bytes_per_step=p.bytes_per_step,
        )
        for i, p in enumerate(programs)
    ]


def _spread(values: Sequence[float]) -> float:
    """Half the distance between the quartiles."""
    if len(values) < 2:
        return 0.0
    low, _, high = quantiles(values, n=4)
    return (high - low) / 2


def table(title: str, rows: Sequence[Row]) -> str:
    """The rows as text, under `title`."""
    wide = max(len(row.name) for row in rows)
    first = rows[0].name
    head = f"{'':{wide}}  ms/step  x {first}  temp MiB  compile s  gradient: from {first}, from the same estimator"
    lines = [title, head]
    for row in rows:
        same = f"{row.distance_from_same:.1e} ({row.same_as})" if row.same_as else "-"
        lines.append(
            f"{row.name:{wide}}  {row.ms_per_step:7.4f}  {row.ratio:{len(first) + 2}.2f}  {row.temp_bytes / 2**20:8.1f}"
            f"  {row.compile_seconds:9.2f}  {row.distance_from_first:.1e}, {same}"
        )
    return "\n".join(lines)
