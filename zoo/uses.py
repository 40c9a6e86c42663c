"""How a weight may be used: on the left, split, tied, shared, half marked, in groups, sparse, low-rank, not at all."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.experimental.sparse import BCOO
from jax.nn import sigmoid

from ..ir.sparse import sparse_matmul
from ..ir.weight_operations import einsum, matmul
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled

LEAK, GROUPS, RANK = 0.7, 2, 2


def _input_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, sizes.hidden), "readout": (sizes.hidden, sizes.outputs)}


def _on_the_left(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(einsum("ji,...i->...j", params["W"], x))
    return {"h": h}, h @ params["readout"]


def _left_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.hidden, sizes.inputs), "readout": (sizes.hidden, sizes.outputs)}


def _split(params: Any, states: Any, x: Any) -> Any:
    gate, candidate = jnp.split(params["W"], 2, axis=-1)
    z = sigmoid(matmul(x, gate))
    h = (1 - z) * states["h"] + z * matmul(x, candidate)
    return {"h": h}, h @ params["readout"]


def _split_after(params: Any, states: Any, x: Any) -> Any:
    gate, candidate = jnp.split(matmul(x, params["W"], params["b"]), 2, axis=-1)
    z = sigmoid(gate)
    h = (1 - z) * states["h"] + z * candidate
    return {"h": h}, h @ params["readout"]


def _double_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (sizes.inputs, 2 * sizes.hidden), "readout": (sizes.hidden, sizes.outputs)}


def _tied_readout(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"]))
    return {"h": h}, h @ params["W"].T


def _shared(params: Any, states: Any, x: Any, y: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"])) * matmul(y, params["W"])
    return {"h": h}, h @ params["readout"]


def _half_marked(params: Any, states: Any, x: Any, y: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"])) + jnp.tanh(y @ params["W"])
    return {"h": h}, h @ params["readout"]


def _two_inputs(sizes: Sizes) -> tuple[Shape, ...]:
    return (sizes.inputs,), (sizes.inputs,)


def _grouped(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(einsum("...gi,gij->...gj", x, params["W"]))
    return {"h": h}, jnp.einsum("...gj,gjo->...o", h, params["readout"])


def _grouped_recurrent(params: Any, states: Any, x: Any) -> Any:
    h = states["h"]
    drive = einsum("...gi,gij->...gj", x, params["W"]) + einsum("...gi,gij->...gj", h, params["U"])
    h = LEAK * h + (1 - LEAK) * jnp.tanh(drive)
    return {"h": h}, jnp.einsum("...gj,gjo->...o", h, params["readout"])


def _grouped_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (GROUPS, sizes.inputs, sizes.hidden), "readout": (GROUPS, sizes.hidden, sizes.outputs)}


def _grouped_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, GROUPS, sizes.hidden), dtype)}


def _grouped_inputs(sizes: Sizes) -> tuple[Shape, ...]:
    return ((GROUPS, sizes.inputs),)


def _sparse(params: Any, states: Any, x: Any) -> Any:
    inputs, hidden = x.shape[-1], params["readout"].shape[0]
    targets = np.repeat(np.arange(hidden), 2)
    entries: Any = params["W"], np.stack([np.arange(2 * hidden) % inputs, targets], -1)
    h = LEAK * states["h"] + jnp.tanh(sparse_matmul(x, BCOO(entries, shape=(inputs, hidden))))
    return {"h": h}, h @ params["readout"]


def _sparse_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"W": (2 * sizes.hidden,), "readout": (sizes.hidden, sizes.outputs)}


def _low_rank(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(matmul(x, params["A"]), params["B"]))
    return {"h": h}, h @ params["readout"]


def _low_rank_shapes(sizes: Sizes) -> dict[str, Shape]:
    return {"A": (sizes.inputs, RANK), "B": (RANK, sizes.hidden), "readout": (sizes.hidden, sizes.outputs)}


def _spare(params: Any, states: Any, x: Any) -> Any:
    h = LEAK * states["h"] + jnp.tanh(matmul(x, params["W"]))
    return {"h": h}, h @ params["readout"]


def _case(name: str, about: str, step: Any, shapes: Any, initial: Any = None, **rest: Any) -> ZooCase:
    labels = {key: rest.pop(key) for key in ("exact", "approximate", "truncated") if key in rest}
    return ZooCase(
        name=name,
        about=about,
        step=step,
        shapes=shapes,
        initial=initial or at_rest("h"),
        labels=labelled(**labels),
        **rest,
    )


CASES = (
    _case("weight_left", "the weight stands on the left of its product", _on_the_left, _left_shapes, exact="W readout"),
    _case("weight_split", "minGRU whose one parameter is split before the products", _split, _double_shapes,
          exact="W readout"),
    _case("product_split", "minGRU whose one product is split after it", _split_after,
          lambda sizes: _double_shapes(sizes) | {"b": (2 * sizes.hidden,)}, exact="W b readout"),
    _case("weight_tied", "the input weight, transposed, is the readout too", _tied_readout,
          lambda sizes: {"W": (sizes.inputs, sizes.hidden)}, exact="W"),
    _case("weight_shared", "two inputs, one weight at two sites of the same state", _shared, _input_shapes,
          input_shapes=_two_inputs, exact="W readout"),
    _case("weight_half_marked", "two inputs, one weight at a site and in a plain product", _half_marked, _input_shapes,
          input_shapes=_two_inputs, approximate="W", exact="readout"),
    _case("grouped_leaky", "a product in groups, positions on two axes", _grouped, _grouped_shapes, _grouped_rest,
          input_shapes=_grouped_inputs, exact="W readout"),
    _case("grouped_rnn", "leaky network, recurrent inside each group", _grouped_recurrent,
          lambda sizes: _grouped_shapes(sizes) | {"U": (GROUPS, sizes.hidden, sizes.hidden)}, _grouped_rest,
          input_shapes=_grouped_inputs, approximate="W U", exact="readout"),
    _case("sparse_edges", "two inputs to each position, a sparse matrix", _sparse, _sparse_shapes, exact="W readout"),
    _case("low_rank", "a weight that is a product of two", _low_rank, _low_rank_shapes, exact="A B readout"),
    _case("weight_unused", "a parameter that nothing reads", _spare,
          lambda sizes: _input_shapes(sizes) | {"spare": (sizes.hidden,)}, exact="W readout spare",
          unused=frozenset({"spare"})),
)  # fmt: skip
