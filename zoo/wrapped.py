"""Steps with other programs inside: `jit`, `checkpoint`, `scan`, `cond`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.nn import sigmoid

from ..ir.weight_operations import matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

SUBSTEPS = 3


def _min_gru_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"Wz": (i, n), "Wh": (i, n), "b": (n,), "readout": (n, o)}


def _min_gru_cell(params: Any, h: Any, x: Any) -> Any:
    z = sigmoid(matmul(x, params["Wz"]))
    return (1 - z) * h + z * matmul(x, params["Wh"], params["b"])


def _dense_cell(params: Any, h: Any, x: Any) -> Any:
    return 0.5 * h + jnp.tanh(matmul(x, params["W"], params["b"]) + matmul(h, params["U"]))


def _dense_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"W": (i, n), "U": (n, n), "b": (n,), "readout": (n, o)}


def _through(cell: Any) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        h = cell(params, states["h"], x)
        return {"h": h}, h @ params["readout"]

    return step


def _substeps_cell(params: Any, h: Any, x: Any) -> Any:
    drive = matmul(x, params["W"], params["b"])

    def euler(v: Any, _: None) -> tuple[Any, None]:
        return v + 0.2 * (jnp.tanh(drive) - v), None

    return jax.lax.scan(euler, h, None, length=SUBSTEPS)[0]


def _microsteps_cell(params: Any, h: Any, x: Any) -> Any:
    drive = matmul(x, params["W"], params["b"])

    def settle(v: Any, _: None) -> tuple[Any, None]:
        return 0.5 * v + 0.5 * jnp.tanh(drive + matmul(v, params["U"])), None

    return jax.lax.scan(settle, h, None, length=SUBSTEPS)[0]


def _branches(params: Any, states: Any, x: Any) -> Any:
    h, count = states["h"], states["count"]
    drive = matmul(x, params["W"], params["b"])
    h = jax.lax.cond(count % 2 == 0, lambda v, d: 0.9 * v + jnp.tanh(d), lambda v, d: 0.6 * v + 0.5 * d, h, drive)
    return {"h": h, "count": count + 1}, h @ params["readout"]


def _branches_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return at_rest("h")(sizes, batch, dtype) | {"count": jnp.zeros((), jnp.int32)}


def _leaky_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, sizes.hidden), "b": (sizes.hidden,), "readout": (sizes.hidden, sizes.outputs)}


def _case(name: str, about: str, step: Any, shapes: Any, **labels: str) -> ZooCase:
    return ZooCase(name=name, about=about, step=step, shapes=shapes, initial=at_rest("h"), labels=labelled(**labels))


CASES = (
    _case("min_gru_jit", "minGRU, its cell under `jax.jit`", _through(jax.jit(_min_gru_cell)), _min_gru_shapes,
          exact="Wz Wh b readout"),
    _case("min_gru_remat", "minGRU, its whole step under `jax.checkpoint`",
          jax.checkpoint(_through(_min_gru_cell)), _min_gru_shapes, exact="Wz Wh b readout"),
    _case("rnn_jit", "dense network, its cell under `jax.jit`", _through(jax.jit(_dense_cell)), _dense_shapes,
          approximate="W U b", exact="readout"),
    _case("rnn_remat_jit", "dense network, its cell under `jax.checkpoint` under `jax.jit`",
          jax.jit(_through(jax.checkpoint(_dense_cell))), _dense_shapes, approximate="W U b", exact="readout"),
    _case("substeps_scan", "a leaky integrator that takes three Euler steps in a `scan` after its product",
          _through(_substeps_cell), _leaky_shapes, exact="readout"),
    _case("microsteps_scan", "a network that settles for three microsteps in a `scan`, its recurrent product inside",
          _through(_microsteps_cell), _dense_shapes, exact="readout"),
    ZooCase(
        name="branches_cond",
        about="a leaky integrator whose leak is chosen by `cond` on a counter",
        step=_branches,
        shapes=_leaky_shapes,
        initial=_branches_rest,
        labels=labelled(exact="readout"),
    ),
)  # fmt: skip
