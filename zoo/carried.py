"""States that are not an ordinary hidden state: counters, random keys, delay lines."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..frontend.state import HiddenState, ParamState, ShortTermState
from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled
from .module import ZooModule

LEAK, DELAY = 0.7, 2


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "b": (n,), "readout": (n, o)}


def _noisy(params: Any, states: Any, x: Any) -> Any:
    """A leaky integrator with multiplicative noise, whose leak alternates with the count of steps."""
    h = states["h"]
    key, now = jax.random.split(states["key"])
    noise = 1 + 0.3 * jax.random.normal(now, h.shape[-1:], h.dtype)
    leak = jnp.where(states["count"] % 2 == 0, LEAK, 1 - LEAK).astype(h.dtype)
    h = leak * h + noise * jnp.tanh(matmul(x, params["W"], params["b"]))
    return {"h": h, "count": states["count"] + 1, "key": key}, h @ params["readout"]


def _noisy_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return at_rest("h")(sizes, batch, dtype) | {"count": jnp.zeros((), jnp.int32), "key": jax.random.key(0)}


def _delay_line(params: Any, states: Any, x: Any) -> Any:
    h, line = states["h"], states["line"]
    new = LEAK * h + jnp.tanh(matmul(x, params["W"], params["b"]) + 0.5 * line[..., -1, :])
    line = jnp.concatenate([new[..., None, :], line[..., :-1, :]], axis=-2)
    return {"h": new, "line": line}, new @ params["readout"]


def _delay_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return at_rest("h")(sizes, batch, dtype) | {"line": jnp.zeros((*batch, DELAY, sizes.hidden), dtype)}


class DelayBuffer(ZooModule):
    """The delay line as a module: its buffer is a short-term state, so it carries no credit between windows."""

    W: ParamState
    b: ParamState
    readout: ParamState

    def hold(self, states: Any, buffers: tuple[str, ...]) -> None:
        """Hold the line apart from the hidden state."""
        self.h, self.line = HiddenState(states["h"]), ShortTermState(states["line"])

    def update(self, x: Any) -> Any:
        """The readout of the new state."""
        heard = matmul(x, self.W.value, self.b.value) + 0.5 * self.line.value[..., -1, :]
        self.h.value = LEAK * self.h.value + jnp.tanh(heard)
        self.line.value = jnp.concatenate([self.h.value[..., None, :], self.line.value[..., :-1, :]], axis=-2)
        return self.h.value @ self.readout.value


CASES = (
    ZooCase(
        name="noisy_counter",
        about="leaky integrator beside an integer counter and a random key",
        step=_noisy,
        shapes=_shapes,
        initial=_noisy_rest,
        labels=labelled(exact="W b readout"),
    ),
    ZooCase(
        name="delay_line",
        about="leaky integrator that hears itself after a delay: credit goes there and back by another shape",
        step=_delay_line,
        shapes=_shapes,
        initial=_delay_rest,
        labels=labelled(exact="W b readout"),
    ),
    ZooCase(
        name="delay_buffer",
        about="the same, its buffer declared not hidden: every rule drops the credit that the buffer carries",
        step=_delay_line,
        module=DelayBuffer,
        shapes=_shapes,
        initial=_delay_rest,
        labels=labelled(approximate="W b", exact="readout"),
        buffers=("line",),
    ),
)
