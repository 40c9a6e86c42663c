"""The machine that a suite ran on, and how fast it copies."""

from __future__ import annotations

import os
import platform
import time
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp


def describe() -> dict[str, object]:
    """The device, the processors that this process may use, and the versions that decide speed."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": len(jax.devices()),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "copy_bytes_per_second": copy_bandwidth(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor()


def copy_bandwidth(rounds: int = 9) -> float:
    """Bytes read and written a second by an in-place pass over an array that no cache holds.

    On a GPU it is so large that the call's own time does not count.
    """
    megabytes = 256 if jax.devices()[0].platform == "cpu" else 4096
    array = jnp.zeros(megabytes * 2**18, jnp.float32)
    negate = jax.jit(lambda x: -x, donate_argnums=0)

    def once(x: Any) -> tuple[Any, float]:
        start = time.perf_counter()
        x = jax.block_until_ready(negate(x))
        return x, time.perf_counter() - start

    times: list[float] = []
    for _ in range(rounds + 1):
        array, seconds = once(array)
        times.append(seconds)
    return 2 * array.nbytes / median(times[1:])
