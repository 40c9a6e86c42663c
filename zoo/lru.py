"""Linear recurrent units (Orvieto et al. 2023): complex diagonal recurrence in three spellings."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from ..frontend.state import HiddenState, ParamState
from ..ir.weight_operations import matmul, scale
from .case import Sizes, ZooCase
from .draw import Shape, at_rest, labelled
from .module import ZooModule

EVERY_WEIGHT = labelled(exact="nu theta gamma_log B_re B_im C_re C_im D")


def _shapes(sizes: Sizes) -> dict[str, Shape]:
    i, n, o = sizes.inputs, sizes.hidden, sizes.outputs
    rings = dict.fromkeys(("nu", "theta", "gamma_log"), (n,))
    return rings | {"B_re": (i, n), "B_im": (i, n), "C_re": (n, o), "C_im": (n, o), "D": (i, o)}


def _at_rest(sizes: Sizes, batch: Shape, dtype: Any) -> dict[str, Any]:
    return {"h": jnp.zeros((*batch, sizes.hidden), jnp.result_type(dtype, jnp.complex64))}


def _inside_the_circle(params: Any) -> Any:
    nu = params["nu"] - 1.5  # |lambda| about 0.8
    return params | {"nu": nu, "gamma_log": 0.5 * jnp.log(1 - jnp.exp(-2 * jnp.exp(nu)))}


def eigenvalues(params: Any) -> Any:
    """Return the recurrence's diagonal, exp(-exp(nu) + i exp(theta))."""
    return jnp.exp(-jnp.exp(params["nu"]) + 1j * jnp.exp(params["theta"]))


def _readout(params: Any, h: Any, x: Any) -> Any:
    return (h @ (params["C_re"] + 1j * params["C_im"])).real + x @ params["D"]


def _lru(params: Any, states: Any, x: Any) -> Any:
    drive = matmul(x, params["B_re"]) + 1j * matmul(x, params["B_im"])
    h = scale(states["h"], eigenvalues(params)) + scale(drive, jnp.exp(params["gamma_log"]))
    return {"h": h}, _readout(params, h, x)


def _lru_prologue(params: Any, states: Any, x: Any) -> Any:
    normalised = (params["B_re"] + 1j * params["B_im"]) * jnp.exp(params["gamma_log"])
    h = scale(states["h"], eigenvalues(params)) + matmul(x, normalised)
    return {"h": h}, _readout(params, h, x)


def _lru_pair(params: Any, states: Any, x: Any) -> Any:
    turn, gamma = eigenvalues(params), jnp.exp(params["gamma_log"])
    re, im = states["re"], states["im"]
    new_re = scale(re, turn.real) - scale(im, turn.imag) + scale(matmul(x, params["B_re"]), gamma)
    new_im = scale(re, turn.imag) + scale(im, turn.real) + scale(matmul(x, params["B_im"]), gamma)
    y = new_re @ params["C_re"] - new_im @ params["C_im"] + x @ params["D"]
    return {"re": new_re, "im": new_im}, y


class LRU(ZooModule):
    """The linear recurrent unit as a module, its derived weights as properties."""

    nu: ParamState
    theta: ParamState
    gamma_log: ParamState
    B_re: ParamState
    B_im: ParamState
    C_re: ParamState
    C_im: ParamState
    D: ParamState
    h: HiddenState

    @property
    def eigenvalue(self) -> Any:
        """The recurrence's diagonal."""
        return jnp.exp(-jnp.exp(self.nu.value) + 1j * jnp.exp(self.theta.value))

    @property
    def normalised(self) -> Any:
        """The input matrix times gamma."""
        return (self.B_re.value + 1j * self.B_im.value) * jnp.exp(self.gamma_log.value)

    def update(self, x: Any) -> Any:
        """The real part of the readout, and the input passed through."""
        self.h.value = scale(self.h.value, self.eigenvalue) + matmul(x, self.normalised)
        return (self.h.value @ (self.C_re.value + 1j * self.C_im.value)).real + x @ self.D.value


CASES = (
    ZooCase(
        name="lru",
        about="complex state, complex eigenvalues as a scale, input matrix as two real products, gamma as a scale",
        step=_lru,
        shapes=_shapes,
        initial=_at_rest,
        labels=EVERY_WEIGHT,
        adjust=_inside_the_circle,
    ),
    ZooCase(
        name="lru_prologue",
        about="the same, with the normalised complex input matrix computed from four parameters before its product",
        step=_lru_prologue,
        module=LRU,
        shapes=_shapes,
        initial=_at_rest,
        labels=EVERY_WEIGHT,
        adjust=_inside_the_circle,
    ),
    ZooCase(
        name="lru_pair",
        about="the same in real arithmetic: two states that rotate into each other, every eigenvalue used twice",
        step=_lru_pair,
        shapes=_shapes,
        initial=at_rest("re", "im"),
        labels=EVERY_WEIGHT,
        adjust=_inside_the_circle,
    ),
)
