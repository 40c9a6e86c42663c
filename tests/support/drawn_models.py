"""Five tiny models for plans that are drawn at random: dense, two-state, complex, with slots, and batched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import etir

STEPS, UNITS, INPUTS = 7, 3, 2
"""No multiple of 2 or of 3 steps: the last window is a shorter one."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A step, its parameters and states, and a sequence to learn."""

    step: Callable[..., Any]
    params: Any
    states: Any
    batch: tuple[int, ...] = ()

    @property
    def xs(self) -> Any:
        return _draw(90, STEPS, *self.batch, INPUTS, scale=1.0)

    @property
    def ts(self) -> Any:
        return _draw(91, STEPS, *jax.eval_shape(self.step, self.params, self.states, self.xs[0])[1].shape, scale=1.0)


def _draw(seed: int, *shape: int, scale: float = 0.6) -> Any:
    return jnp.asarray(scale * np.random.default_rng(seed).standard_normal(shape))


def _leaky(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(jnp.concatenate([x, s["h"]], -1), p["W"])
    h = 0.7 * s["h"] + 0.3 * jnp.tanh(y)
    return {"h": h}, etir.matmul(h, p["out"])


def _adaptive(p: Any, s: Any, x: Any) -> Any:
    """Two states of one group that feed each other, element by element: every trace of them can be exact."""
    v = 0.8 * s["v"] + etir.matmul(x, p["W"]) - 0.4 * s["a"]
    a = 0.9 * s["a"] + 0.3 * jnp.tanh(s["v"]) + 0.1 * etir.matmul(x, p["U"])
    return {"v": v, "a": a}, etir.matmul(jnp.tanh(v), p["out"])


def _lru(p: Any, s: Any, x: Any) -> Any:
    turn = jnp.exp(-jnp.exp(p["nu"]) + 1j * p["theta"])
    h = etir.scale(s["h"], turn) + etir.matmul(x.astype(complex), p["B"])
    return {"h": h}, (h @ p["C"]).real


def _slots(p: Any, s: Any, x: Any) -> Any:
    """Each output of the fused gates feeds two positions of a matrix-valued state."""
    gate, new = jnp.split(etir.matmul(x, p["W"]), 2)
    m = jax.nn.sigmoid(gate) * s["m"] + jnp.tanh(new) * p["key"][:, None]
    return {"m": m}, jnp.einsum("aj,jk->ak", m, p["out"])


_DENSE = {"W": _draw(0, INPUTS + UNITS, UNITS), "out": _draw(1, UNITS, 2)}
MODELS = {
    "leaky": Drawn(step=_leaky, params=_DENSE, states={"h": _draw(2, UNITS)}),
    "batched": Drawn(step=_leaky, params=_DENSE, states={"h": _draw(3, 2, UNITS)}, batch=(2,)),
    "adaptive": Drawn(
        step=_adaptive,
        params={"W": _draw(4, INPUTS, UNITS), "U": _draw(5, INPUTS, UNITS), "out": _draw(6, UNITS, 2)},
        states={"v": _draw(7, UNITS), "a": _draw(8, UNITS)},
    ),
    "lru": Drawn(
        step=_lru,
        params={
            "nu": _draw(9, UNITS),
            "theta": _draw(10, UNITS),
            "B": _draw(11, INPUTS, UNITS) + 1j * _draw(12, INPUTS, UNITS),
            "C": _draw(13, UNITS, 2) + 1j * _draw(14, UNITS, 2),
        },
        states={"h": _draw(15, UNITS) + 1j * _draw(16, UNITS)},
    ),
    "slots": Drawn(
        step=_slots,
        params={"W": _draw(17, INPUTS, 2 * UNITS), "key": _draw(18, 2), "out": _draw(19, UNITS, 2)},
        states={"m": _draw(20, 2, UNITS)},
    ),
}
