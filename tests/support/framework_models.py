"""Models of other libraries as they are, what `etir.compile` is given for them, and their library's own call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

BATCH, INPUTS, HIDDEN = 3, 3, 4


@dataclass(frozen=True, kw_only=True, eq=False)
class Guest:
    """A model with float64 parameters, what is handed to `etir.compile`, and how its own library runs it."""

    given: tuple[Any, ...]
    """The model and what comes with it, inputs left out."""
    inputs: tuple[Any, ...]
    own: Callable[..., Any]
    """`own(xs)`: the stacked outputs of the library's own calls over a sequence; it changes nothing."""
    paths: tuple[str, ...]
    """The parameters, as the library's user would write them."""
    states: tuple[str, ...]


def _x(*shape: int) -> jax.Array:
    return jnp.zeros((BATCH, *(shape or (INPUTS,))), "float64")


def _nnx_cell(kind: Any, *paths: str, states: tuple[str, ...] = ("carry",)) -> Guest:
    cell = kind(INPUTS, HIDDEN, dtype=jnp.float64, param_dtype=jnp.float64, rngs=nnx.Rngs(0))

    def own(xs: Any) -> Any:
        carry, ys = cell.initialize_carry(xs[0].shape, nnx.Rngs(0)), []
        for x in xs:
            carry, y = cell(carry, x)
            ys.append(y)
        return jnp.stack(ys)

    return Guest(given=(cell,), inputs=(_x(),), own=own, paths=paths, states=states)


class Net(nnx.Module):
    """A leaky layer behind batch normalisation and dropout, its membrane an `nnx.Variable`."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        # No bias: normalisation would take it away again, and its gradient would be rounding.
        self.layers = nnx.List([nnx.Linear(INPUTS, HIDDEN, use_bias=False, param_dtype=jnp.float64, rngs=rngs)])
        self.norm = nnx.BatchNorm(HIDDEN, param_dtype=jnp.float64, rngs=rngs)
        for statistic in (self.norm.mean, self.norm.var):  # nnx makes them in float32, whatever it is told
            statistic.set_value(statistic[...].astype("float64"))
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.tau = nnx.Variable(jnp.asarray(0.9, "float64"))
        self.v = nnx.Variable(jnp.zeros((BATCH, HIDDEN), "float64"))

    def __call__(self, x: Any) -> Any:
        """The membrane after a step."""
        self.v[...] = self.tau[...] * self.v[...] + self.drop(self.norm(self.layers[0](x)))
        return jnp.tanh(self.v[...])


@jax.custom_jvp
def spike(v: Any) -> Any:
    """A step with a surrogate derivative."""
    return jnp.where(v > 0, 1.0, 0.0).astype(v.dtype)


@spike.defjvp
def _spike_jvp(primals: Any, tangents: Any) -> Any:
    (v,), (d,) = primals, tangents
    return spike(v), d / (1 + jnp.abs(v)) ** 2


class Spiking(nnx.Module):
    """Adaptive leaky integrate-and-fire neurons, two layers, as one writes them in nnx."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = ALIF(INPUTS, HIDDEN, rngs)
        self.second = ALIF(HIDDEN, HIDDEN, rngs)
        self.out = nnx.Linear(HIDDEN, HIDDEN, param_dtype=jnp.float64, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """A readout of the second layer's spikes."""
        return self.out(self.second(self.first(x)))


class ALIF(nnx.Module):
    """A layer of adaptive leaky integrate-and-fire neurons."""

    def __init__(self, inputs: int, hidden: int, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(inputs, hidden, param_dtype=jnp.float64, rngs=rngs)
        self.v = nnx.Variable(jnp.zeros((BATCH, hidden), "float64"))
        self.a = nnx.Variable(jnp.zeros((BATCH, hidden), "float64"))

    def __call__(self, x: Any) -> Any:
        """The spikes of a step."""
        z = spike(self.v[...] - 0.3 - self.a[...])
        self.a[...] = 0.95 * self.a[...] + 0.1 * z
        self.v[...] = 0.8 * self.v[...] * (1 - z) + 2 * self.dense(x)
        return spike(self.v[...] - 0.3 - self.a[...])


def _nnx_model(kind: Any, paths: tuple[str, ...], states: tuple[str, ...]) -> Guest:
    model = kind(nnx.Rngs(0))

    def own(xs: Any) -> Any:
        alone = nnx.clone(model)
        return jnp.stack([alone(x) for x in xs])

    return Guest(given=(model,), inputs=(_x(),), own=own, paths=paths, states=states)


NNX = {
    "nnx.SimpleCell": lambda: _nnx_cell(nnx.SimpleCell, "dense_h.kernel", "dense_i.bias", "dense_i.kernel"),
    "nnx.GRUCell": lambda: _nnx_cell(nnx.GRUCell, "dense_h.kernel", "dense_i.bias", "dense_i.kernel"),
    "nnx.LSTMCell": lambda: _nnx_cell(
        nnx.LSTMCell,
        *(f"h{gate}.{part}" for gate in "fgio" for part in ("bias", "kernel")),
        *("if_.kernel", "ig.kernel", "ii.kernel", "io.kernel"),
        states=("carry.0", "carry.1"),
    ),
    "nnx.OptimizedLSTMCell": lambda: _nnx_cell(
        nnx.OptimizedLSTMCell, "dense_h.bias", "dense_h.kernel", "dense_i.kernel", states=("carry.0", "carry.1")
    ),
    "nnx.Net": lambda: _nnx_model(
        Net,
        ("layers.0.kernel", "norm.bias", "norm.scale"),
        ("drop.rngs.count", "drop.rngs.key", "norm.mean", "norm.var", "tau", "v"),
    ),
    "nnx.Spiking": lambda: _nnx_model(
        Spiking,
        tuple(f"{layer}.{part}" for layer in ("first.dense", "out", "second.dense") for part in ("bias", "kernel")),
        ("first.a", "first.v", "second.a", "second.v"),
    ),
}
GUESTS: dict[str, Callable[[], Guest]] = {**NNX}


@cache
def guest(name: str) -> Guest:
    """The model of this name, made once."""
    return GUESTS[name]()
