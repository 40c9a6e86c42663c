"""Random steps: chains of operations between products, old states and new ones, described by a small recipe.

A recipe is a few names, so that a failing example shrinks and prints as something that a person can rebuild.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

import etir

SIZE, INPUTS, OUTPUTS = 4, 2, 2
Parts = dict[str, Any]


def _normalise(v: Any) -> Any:
    return (v - v.mean(-1, keepdims=True)) / jnp.sqrt(v.var(-1, keepdims=True) + 0.1)


# Each takes the value, the old state and the parameters, and gives a value of the same shape.
OPERATIONS: dict[str, Callable[[Any, Any, Parts], Any]] = {
    "tanh": lambda v, h, p: jnp.tanh(v),
    "square": lambda v, h, p: 0.5 * v * v + v,
    "mask": lambda v, h, p: v * np.array([1.0, 0.5, -1.0, 2.0]),
    "kink": lambda v, h, p: jnp.where(v > 0, v, 0.1 * v),
    "roll": lambda v, h, p: jnp.roll(v, 1, -1),
    "reverse": lambda v, h, p: v[..., ::-1],
    "gather": lambda v, h, p: v[..., np.array([2, 0, 3, 1])],
    "repeat_index": lambda v, h, p: v[..., np.array([0, 0, 3, 2])],
    "swap_halves": lambda v, h, p: jnp.concatenate([v[..., 2:], v[..., :2]], -1),
    "transpose": lambda v, h, p: v.reshape(*v.shape[:-1], 2, 2).swapaxes(-1, -2).reshape(v.shape),
    "pool": lambda v, h, p: jnp.repeat(v.reshape(*v.shape[:-1], 2, 2).mean(-1), 2, -1),
    "band": lambda v, h, p: v + 0.5 * jnp.roll(v, 1, -1),
    "gate_halves": lambda v, h, p: jnp.concatenate([v[..., :2] * v[..., 2:], v[..., 2:]], -1),
    "sort": lambda v, h, p: jnp.sort(v, -1),
    "cumsum": lambda v, h, p: jnp.cumsum(v, -1),
    "normalise": lambda v, h, p: _normalise(v),
    "stop_half": lambda v, h, p: jnp.concatenate([jax.lax.stop_gradient(v[..., :2]), v[..., 2:]], -1),
    "times_state": lambda v, h, p: v * (1 + 0.3 * h),
    "plus_rolled_state": lambda v, h, p: v + 0.3 * jnp.roll(h, 1, -1),
    "dense": lambda v, h, p: etir.matmul(v, p["V"]),
    "plain_dense": lambda v, h, p: v @ p["P"],
    "weighted": lambda v, h, p: etir.scale(v, p["s"]),
    "plain_weighted": lambda v, h, p: v * p["q"],
    "jit": lambda v, h, p: jax.jit(jnp.sinh)(0.5 * v),
    "checkpoint": lambda v, h, p: jax.checkpoint(lambda u: jnp.roll(jnp.tanh(u), 2, -1) * u)(v),
}

RECURRENCES: dict[str, Callable[[Any, Any, Parts], Any]] = {
    "leak": lambda h, v, p: 0.7 * h,
    "diagonal": lambda h, v, p: jnp.tanh(etir.scale(h, p["u"])),
    "dense": lambda h, v, p: jnp.tanh(etir.matmul(h, p["U"])),
    "plain_dense": lambda h, v, p: jnp.tanh(h @ p["R"]),
    "gate": lambda h, v, p: jax.nn.sigmoid(v) * h,
    "roll": lambda h, v, p: 0.7 * jnp.roll(h, 1, -1),
    "stopped": lambda h, v, p: jax.lax.stop_gradient(jnp.tanh(etir.matmul(h, p["U"]))) + 0.5 * h,
}


@dataclass(frozen=True)
class Recipe:
    """What stands between the input's product and the state, how the state recurs, and what the output sees."""

    tail: tuple[str, ...]
    recurrence: str
    head: tuple[str, ...]
    second_state: bool
    old_output: bool

    def step(self, params: Parts, states: Parts, x: Any) -> tuple[Parts, Any]:
        h = states["h"]
        v = _chain(self.tail, etir.matmul(x, params["W"], params["b"]), h, params)
        h = RECURRENCES[self.recurrence](h, v, params) + 0.5 * v
        new = {"h": h}
        if self.second_state:
            new["c"] = 0.6 * states["c"] + jnp.tanh(h)
            h = h * jnp.tanh(new["c"])
        seen = states["h"] + h if self.old_output else h
        return new, _chain(self.head, seen, h, params) @ params["readout"]

    def states(self, batch: tuple[int, ...] = ()) -> Parts:
        return {name: jnp.zeros((*batch, SIZE)) for name in ("h", "c")[: 1 + self.second_state]}


def _chain(names: tuple[str, ...], v: Any, h: Any, params: Parts) -> Any:
    for name in names:
        v = OPERATIONS[name](v, h, params)
    return v


def parameters(key: jax.Array) -> Parts:
    """One parameter for each use that an operation may make of one; those that a recipe leaves out stay unread."""
    square, vector = (SIZE, SIZE), (SIZE,)
    shapes = {"W": (INPUTS, SIZE), "b": vector, "readout": (SIZE, OUTPUTS), "u": vector, "s": vector, "q": vector}
    shapes |= dict.fromkeys("UVPR", square)
    keys = jax.random.split(key, len(shapes))
    return {name: 0.6 * jax.random.normal(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


recipes = st.builds(
    Recipe,
    tail=st.lists(st.sampled_from(sorted(OPERATIONS)), max_size=3).map(tuple),
    recurrence=st.sampled_from(sorted(RECURRENCES)),
    head=st.lists(st.sampled_from(sorted(OPERATIONS)), max_size=1).map(tuple),
    second_state=st.booleans(),
    old_output=st.booleans(),
)
