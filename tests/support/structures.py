"""Tiny models whose dependences between positions are awkward: what a structured backend could get wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import etir

STEPS = 6


def _draw(index: int, *shape: int) -> Any:
    return 0.5 * jax.random.normal(jax.random.key(index), shape)


def _complex(index: int, *shape: int) -> Any:
    return _draw(index, *shape) + 1j * _draw(index + 1000, *shape)


@dataclass(frozen=True, kw_only=True)
class Structure:
    """A step with parameters and states, and a sequence for it."""

    step: Callable[..., Any]
    params: Any
    states: Any

    @property
    def xs(self) -> Any:
        return _draw(9, STEPS, 3)

    @property
    def ts(self) -> Any:
        return _draw(8, STEPS, *jax.eval_shape(self.step, self.params, self.states, self.xs[0])[1].shape)


def site_and_neighbour(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(x, p["W"])
    h = 0.5 * s["h"] + jnp.tanh(y + 0.5 * jnp.roll(y, 1))
    return {"h": h}, h


def moving_recurrence(p: Any, s: Any, x: Any) -> Any:
    h = 0.5 * s["h"] + 0.3 * jnp.roll(s["h"], 1) + jnp.tanh(etir.matmul(x, p["W"]))
    return {"h": h}, h


def products_of_neighbours(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(x, p["W"])
    z = jnp.tanh(y[:-1] * y[1:])
    h = 0.5 * s["h"] + z * s["h"][::-1] + z
    return {"h": h}, h


def gathered(p: Any, s: Any, x: Any) -> Any:
    h = 0.7 * s["h"] + jnp.tanh(etir.matmul(x, p["W"]))[jnp.array([2, 0, 0, 1, 3])]
    return {"h": h}, h


def pooled(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(x, p["W"]).reshape(2, 2).sum(1)
    h = 0.7 * s["h"] * jnp.cos(y) + y
    return {"h": h}, h


def two_maps(p: Any, s: Any, x: Any) -> Any:
    """One state takes the site's output where it is, the other one place further."""
    v = 0.8 * s["v"] + jnp.tanh(etir.matmul(x, p["W"])) - 0.2 * s["a"]
    a = 0.9 * s["a"] + 0.1 * jnp.roll(v, 1) * jnp.sin(s["v"])
    return {"v": v, "a": a}, v * a


def current_to_voltage(p: Any, s: Any, x: Any) -> Any:
    i = 0.8 * s["i"] + etir.matmul(x, p["W"])
    v = jax.nn.sigmoid(etir.matmul(x, p["V"])) * s["v"] + i
    return {"i": i, "v": v}, jnp.tanh(v)


def complex_scale(p: Any, s: Any, x: Any) -> Any:
    h = etir.scale(s["h"], jnp.exp(-jnp.exp(p["nu"]) + 1j * p["theta"])) + etir.matmul(x.astype(complex), p["B"])
    return {"h": h}, (h @ p["C"]).real


def complex_state_of_real_site(p: Any, s: Any, x: Any) -> Any:
    h = 0.9 * jnp.exp(1j * p["theta"]) * s["h"] + jnp.tanh(etir.matmul(x, p["W"])) * (1 + 2j)
    return {"h": h}, (h * jnp.conj(h)).real


def complex_neighbours(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(x, p["W"])
    h = 0.6j * s["h"] * s["h"] + (y + 1j * jnp.roll(y, 1))
    return {"h": h}, jnp.abs(h) ** 2


def element_wise_site(p: Any, s: Any, x: Any) -> Any:
    h = etir.scale(jnp.tanh(s["h"]), p["a"]) + etir.matmul(x, p["W"])
    return {"h": h}, h


def shared_weight(p: Any, s: Any, x: Any) -> Any:
    h = 0.5 * s["h"] + jnp.tanh(etir.matmul(x, p["W"])) * jnp.cos(etir.matmul(x * x, p["W"]))
    return {"h": h}, h @ p["W"].T


def transposed_weight(p: Any, s: Any, x: Any) -> Any:
    h = 0.5 * s["h"] + jnp.tanh(etir.matmul(p["W"].T, x))
    return {"h": h}, h


def outer_product(p: Any, s: Any, x: Any) -> Any:
    m = 0.9 * s["m"] + etir.einsum("a,j->aj", x, p["w"]) * jnp.tanh(s["m"])
    return {"m": m}, m


def two_shapes(p: Any, s: Any, x: Any) -> Any:
    h = 0.5 * s["h"] + etir.matmul(x, p["W"])[:2]
    g = 0.5 * s["g"] + h[:, None] * jnp.ones((2, 3))
    return {"h": h, "g": g}, g.sum(1) + h


def rows_that_meet(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(jnp.stack([x, x * x]), p["W"])
    h = 0.5 * s["h"] + y * jnp.roll(y, 1, 0)
    return {"h": h}, h


def written_in_places(p: Any, s: Any, x: Any) -> Any:
    y = etir.matmul(x, p["W"])
    h = (0.9 * s["h"]).at[1:3].add(jnp.tanh(y[:2])).at[0].multiply(y[3])
    return {"h": h}, h


def buffered(p: Any, s: Any, x: Any) -> Any:
    h = 0.6 * s["h"] + jnp.tanh(etir.matmul(x, p["W"]) + 0.5 * s["line"])
    return {"h": h, "line": s["h"]}, h


def sums_of_sites(p: Any, s: Any, x: Any) -> Any:
    """Sites that end in one sum, beside one that ends there twice, one that is read elsewhere too, one that spreads."""
    y = [etir.matmul(data, w) for data, w in zip((x, x, x * x, jnp.sin(x), jnp.cos(x)), p["W"], strict=True)]
    total = (y[0] + y[1]) + (y[2] + y[3] + y[3])
    h = 0.5 * s["h"] + jnp.tanh(total[None] + jnp.stack([y[4], y[4]]) * jnp.cos(y[2]))
    return {"h": h}, h


STRUCTURES = {
    item.step.__name__: item
    for item in (
        Structure(step=site_and_neighbour, params={"W": _draw(0, 3, 4)}, states={"h": _draw(1, 4)}),
        Structure(step=moving_recurrence, params={"W": _draw(0, 3, 4)}, states={"h": _draw(1, 4)}),
        Structure(step=products_of_neighbours, params={"W": _draw(0, 3, 5)}, states={"h": _draw(1, 4)}),
        Structure(step=gathered, params={"W": _draw(0, 3, 4)}, states={"h": _draw(1, 5)}),
        Structure(step=pooled, params={"W": _draw(0, 3, 4)}, states={"h": _draw(1, 2)}),
        Structure(step=two_maps, params={"W": _draw(0, 3, 4)}, states={"v": _draw(1, 4), "a": _draw(2, 4)}),
        Structure(
            step=current_to_voltage,
            params={"W": _draw(0, 3, 4), "V": _draw(5, 3, 4)},
            states={"i": _draw(1, 4), "v": _draw(2, 4)},
        ),
        Structure(
            step=complex_scale,
            params={"nu": _draw(0, 4), "theta": _draw(1, 4), "B": _complex(2, 3, 4), "C": _complex(3, 4, 2)},
            states={"h": _complex(4, 4)},
        ),
        Structure(
            step=complex_state_of_real_site,
            params={"W": _draw(0, 3, 4), "theta": _draw(1, 4)},
            states={"h": _complex(4, 4)},
        ),
        Structure(step=complex_neighbours, params={"W": _draw(0, 3, 4)}, states={"h": 0.3 * _complex(4, 4)}),
        Structure(step=element_wise_site, params={"a": _draw(0, 4), "W": _draw(1, 3, 4)}, states={"h": _draw(2, 4)}),
        Structure(step=shared_weight, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 4)}),
        Structure(step=transposed_weight, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 4)}),
        Structure(step=outer_product, params={"w": _draw(1, 4)}, states={"m": _draw(2, 3, 4)}),
        Structure(step=two_shapes, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 2), "g": _draw(3, 2, 3)}),
        Structure(step=rows_that_meet, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 2, 4)}),
        Structure(step=written_in_places, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 5)}),
        Structure(step=sums_of_sites, params={"W": list(_draw(1, 5, 3, 4))}, states={"h": _draw(2, 2, 4)}),
        Structure(step=buffered, params={"W": _draw(1, 3, 4)}, states={"h": _draw(2, 4), "line": _draw(3, 4)}),
    )
}
