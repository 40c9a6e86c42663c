"""Measuring a device: small loops of JAX, timed for about a second in all."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .device import THICK, THIN, DeviceModel

SIZES = (2**16, 2**19, 2**22, 2**26)
"""Bytes of the arrays that are copied."""
FRESH = (2**20, 2**24, 2**25, 2**26)
"""Bytes of the arrays that are made."""
_ENOUGH = 0.01
"""Seconds that one measurement takes."""
_ROUNDS = 3
_LONG = 32
"""Operations in a chain."""

_SMALL = np.ones(512, np.float32), np.eye(8, dtype=np.float32)
"""Operands of products with no work to speak of, beside more than XLA takes for a loop to be run as one kernel."""

Body = Callable[..., Any]


def calibrate(name: str) -> DeviceModel:
    """The model of JAX's default device, measured."""
    launch, iteration = _apart(*(_per_iteration(_small_kernels(count), _SMALL[0]) for count in (1, 9)))
    call, _ = _apart(*(_per_iteration(_small_products(count), *_SMALL) for count in (1, 9)))

    def net(body: Body, *given: np.ndarray) -> float:
        found = _per_iteration(body, *given)
        return max(found - iteration - launch, found / 8)

    flat = np.full(2**14, 0.5, np.float32)
    element = net(_chain(lambda x: x * 0.5 + 0.25, _LONG), flat) / (2 * _LONG * flat.size)
    series = net(_chain(jnp.tanh, 8), flat) / (8 * flat.size)
    bandwidth = tuple((float(size), 2 * size / net(jnp.negative, np.ones(size // 4, np.float32))) for size in SIZES)
    types = [np.dtype(t) for t in (jnp.float32, jnp.bfloat16, jnp.result_type(float))]
    thin = {str(t): 2.0 * THIN * THICK**2 / net(*_product(THIN, t)) for t in types}
    thick = {str(t): 2.0 * THICK**3 / net(*_product(THICK, t)) for t in types}
    fresh = tuple((float(size), size / _fresh(size)) for size in FRESH)
    return DeviceModel(
        name=name,
        bandwidth=bandwidth,
        fresh=fresh,
        thin=thin,
        thick=thick,
        element=element,
        series=series,
        launch=launch,
        call=call,
        rewriting=_rewriting(bandwidth[2][1]),
        iteration=iteration,
    )


def _chain(step: Body, times: int) -> Body:
    def run(x: Any) -> Any:
        for _ in range(times):
            x = step(x)
        return x

    return run


def _apart(one: float, nine: float) -> tuple[float, float]:
    """What each of some operations takes, and what a loop's iteration takes beside them."""
    each = max((nine - one) / 8, nine / 72)
    return each, max(one - each, one / 8)


def _small_kernels(count: int) -> Body:
    def turned(x: Any) -> Any:
        return jax.lax.optimization_barrier(jnp.concatenate([x[1:], x[:1]]) * 0.5)

    return _chain(turned, count)


def _small_products(count: int) -> Body:
    def run(x: Any, w: Any) -> Any:
        found = _chain(lambda y: y @ w, count)(x[:64].reshape(8, 8))
        return jnp.concatenate([found.reshape(64), -x[64:]])

    return run


def _product(rows: int, dtype: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    weights = (np.eye(THICK) + 1 / THICK).astype(dtype)
    return (lambda x, w: x @ w), np.full((rows, THICK), 1 / THICK).astype(dtype), weights


def _per_iteration(body: Any, x: Any, *fixed: np.ndarray) -> float:
    """Seconds that an iteration of a loop of `body` takes: the least of several runs."""

    def run(times: Any, x: Any, *fixed: Any) -> Any:
        return jax.lax.fori_loop(0, times, lambda _, now: body(now, *fixed), x)

    executable = jax.jit(run).lower(np.int32(1), x, *fixed).compile()
    given = [jax.device_put(a) for a in (x, *fixed)]

    def seconds(times: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(executable(np.int32(times), *given))
        return time.perf_counter() - start

    seconds(1)
    times, least = 1, seconds(1)
    while least < _ENOUGH / 2 and times < 2**22:
        times = min(8 * times, max(2 * times, int(times * _ENOUGH / least)))
        least = seconds(times)
    base = min(seconds(0) for _ in range(_ROUNDS))
    found = min(least, *(seconds(times) for _ in range(_ROUNDS)))
    return max(found - base, found / 8) / times


def _fresh(size: int) -> float:
    """Seconds that it takes to make an array of so many bytes, in memory that is new to the program."""
    executable = jax.jit(lambda x: jnp.full((size // 4,), 0.5) * x).lower(np.float32(1)).compile()

    def seconds() -> float:
        start = time.perf_counter()
        jax.block_until_ready(executable(np.float32(1)))
        return time.perf_counter() - start

    return median(seconds() for _ in range(2 * _ROUNDS))


def _rewriting(bandwidth: float) -> float:
    """Seconds a byte of an array of which a loop reads one slice and writes it: nothing where that is in place."""
    rows, size = 8, 2**18
    whole = 4.0 * rows * size

    def step(now: Any) -> Any:
        k, array, total = now
        old = jax.lax.dynamic_index_in_dim(array, k, keepdims=False)
        new, total = jax.lax.optimization_barrier((old * 0.5 + 1.0, total + old * 0.25))
        return (k + 1) % rows, jax.lax.dynamic_update_index_in_dim(array, new, k, 0), total

    found = _per_iteration(step, (np.int32(0), np.ones((rows, size), np.float32), np.ones(size, np.float32)))
    needed = 5 * whole / rows / bandwidth
    return found / whole if found > 2 * needed else 0.0
