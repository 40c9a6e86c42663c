"""S5 (Smith et al. 2023): a complex diagonal state space between real inputs and outputs. Products are plain `@`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax.nn import gelu

from .case import Sizes, layer
from .draw import Shape, labelled


def _s5(params: Any, states: Any, u: Any) -> Any:
    eigenvalue = -jnp.exp(params["Lambda_re"]) + 1j * params["Lambda_im"]
    turn = jnp.exp(eigenvalue * jnp.exp(params["log_step"]))
    B = (params["B_re"] + 1j * params["B_im"]) * ((turn - 1) / eigenvalue)
    h = turn * states["h"] + u @ B
    y = (h @ (params["C_re"] + 1j * params["C_im"])).real + u @ params["D"]
    return {"h": h}, gelu(y)


def _complex_weights(params: Any, states: Any, u: Any) -> Any:
    h = jnp.exp(params["Lambda"]) * states["h"] + u @ params["B"]
    return {"h": h}, 2 * (h @ params["C"]).real + u @ params["D"]


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    vectors = dict.fromkeys(("Lambda_re", "Lambda_im", "log_step"), (n,))
    return vectors | {"B_re": (i, n), "B_im": (i, n), "C_re": (n, o), "C_im": (n, o), "D": (i, o)}


def _complex_shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    return {"Lambda": (n,), "B": (i, n), "C": (n, o), "D": (i, o)}


def _made_complex(params: Any) -> Any:
    """Give the weights imaginary parts, and the eigenvalues a decay."""
    turned = {name: params[name] * (1 + 0.5j) for name in ("B", "C")}
    return params | turned | {"Lambda": -jnp.exp(params["Lambda"] - 1) + 1j * params["Lambda"]}


def _rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, sizes.hidden), jnp.result_type(dtype, jnp.complex64))}


CASES = (
    layer(
        name="s5",
        about="S5: discretised by zero-order hold from real parameters",
        step=_s5,
        shapes=_shapes,
        initial=_rest,
        labels=labelled(exact="Lambda_re Lambda_im log_step B_re B_im C_re C_im D"),
    ),
    layer(
        name="s5_complex",
        about="a complex diagonal state space whose parameters are complex themselves",
        step=_complex_weights,
        shapes=_complex_shapes,
        initial=_rest,
        adjust=_made_complex,
        labels=labelled(exact="Lambda B C D"),
    ),
)
