"""What may stand between a weight's product and the state: rolls, gathers, pools, sorts, cumulative sums."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

LEAK = 0.7


def _shapes(widen: int = 1, narrow: int = 1) -> Any:
    def shapes(sizes: Sizes) -> dict[str, Shape]:
        i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
        return {"W": (i, widen * n // narrow), "readout": (n, o)}

    return shapes


def _after(tail: Any) -> Any:
    """Return the step of a leaky integrator that sees `tail` of a product."""

    def step(params: Any, states: Any, x: Any) -> Any:
        h = LEAK * states["h"] + jnp.tanh(tail(matmul(x, params["W"])))
        return {"h": h}, h @ params["readout"]

    return step


def _rolled(y: Any) -> Any:
    return jnp.roll(y, 1, axis=-1)


def _reversed(y: Any) -> Any:
    return y[..., ::-1]


def _gathered(y: Any) -> Any:
    size = y.shape[-1]
    return y[..., np.roll(np.arange(size).reshape(-1, 2)[:, ::-1].reshape(-1), 1)]


def _sorted(y: Any) -> Any:
    return jnp.sort(y, axis=-1)


def _summed(y: Any) -> Any:
    return jnp.cumsum(y, axis=-1)


def _pooled(y: Any) -> Any:
    return y.reshape(*y.shape[:-1], -1, 2).mean(-1)


def _repeated(y: Any) -> Any:
    return jnp.repeat(y, 2, axis=-1)


def _smoothed(y: Any) -> Any:
    return y + 0.5 * jnp.roll(y, 1, axis=-1)


def _rolling_state(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * jnp.roll(states["h"], 1, axis=-1) + jnp.tanh(matmul(x, params["W"]))
    return {"h": h}, h @ params["readout"]


def _case(name: str, about: str, tail: Any, shapes: Any = None, **labels: str) -> ZooCase:
    return ZooCase(
        name=name,
        about=about,
        step=_after(tail),
        shapes=shapes or _shapes(),
        initial=at_rest("h"),
        labels=labelled(**labels),
    )


CASES = (
    _case("tail_roll", "the product is rolled by one position", _rolled, exact="W readout"),
    _case("tail_reverse", "the product is reversed", _reversed, exact="W readout"),
    _case("tail_gather", "the product is permuted by constant indices", _gathered, exact="W readout"),
    _case("tail_pool", "pairs of the product are averaged", _pooled, _shapes(widen=2), exact="W readout"),
    _case("tail_sort", "the product is sorted: which position feeds which depends on the data", _sorted,
          truncated="W", exact="readout"),
    _case("tail_cumsum", "the product is summed cumulatively: every position feeds all later ones", _summed,
          truncated="W", exact="readout"),
    _case("tail_repeat", "each position of the product feeds two of the state", _repeated, _shapes(narrow=2),
          exact="readout"),
    _case("tail_band", "each position of the product feeds itself and its neighbour", _smoothed, exact="readout"),
    ZooCase(
        name="state_roll",
        about="the state rolls by one position each step: its own recurrence crosses positions, without a weight",
        step=_rolling_state,
        shapes=_shapes(),
        initial=at_rest("h"),
        labels=labelled(approximate="W", exact="readout"),
    ),
)  # fmt: skip
