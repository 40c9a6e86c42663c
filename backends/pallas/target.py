"""Where a kernel runs: on a GPU that has what it takes, interpreted where there is none, by its twin elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from jax.experimental.pallas import mosaic_gpu

plgpu: Any = mosaic_gpu

CAPABILITY = 9.0
"""The least compute capability: warp-group products and bulk copies."""
TOO_OLD = "this JAX's Pallas writes no argument in place; wanted jax 0.12 or later"
"""Why no kernel runs where `takes_references` says no."""


def on_gpu(kernel: Callable[..., Any], twin: Callable[..., Any], interpreted: bool, *operands: Any) -> Any:
    """`kernel(interpret, *operands)` on a GPU, or `twin(*operands)`, which gives the same; chosen at lowering.

    Under a mesh it is the twin, which XLA partitions; a kernel it would hand whole arrays on every device.
    With `interpreted` the kernel is run on this machine's CPU instead: that is a choice of its own, since JAX lowers no
    interpreted kernel beside another.
    """
    if not jax.sharding.get_abstract_mesh().empty:
        return twin(*operands)
    if interpreted:
        return kernel(plgpu.InterpretGPUParams(), *operands)
    if not _capable():
        return twin(*operands)
    return jax.lax.platform_dependent(*operands, cuda=partial(kernel, None), default=twin)


def takes_references() -> bool:
    """Whether this JAX's kernels write their arguments in place, and can be interpreted: 0.10's do neither."""
    return hasattr(plgpu, "InterpretGPUParams")


def interprets() -> bool:
    """Whether there is no GPU, so that kernels that are forced are interpreted."""
    return not _gpus()


def _gpus() -> list[Any]:
    return [device for device in jax.devices() if device.platform == "gpu"]


def _capable() -> bool:
    """Whether every GPU here has the capability: to compile for another aborts the process."""
    return all(float(device.compute_capability) >= CAPABILITY for device in _gpus())
