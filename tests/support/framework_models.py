"""Models of other libraries as they are, what `etir.compile` is given for them, and their library's own call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from flax import linen, nnx

import etir

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
        self.tau = nnx.Variable(0.9)
        self.v = nnx.Variable(jnp.zeros((BATCH, HIDDEN), "float64"))

    def __call__(self, x: Any) -> Any:
        """The membrane after a step."""
        self.v[...] = self.tau.get_value() * self.v[...] + self.drop(self.norm(self.layers[0](x)))
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


def _linen_cell(module: Any, *paths: str, x: Any = None, states: tuple[str, ...] = ("carry",)) -> Guest:
    x = _x() if x is None else x
    carry = module.initialize_carry(jax.random.key(0), x.shape)
    variables = module.init(jax.random.key(1), carry, x)

    def own(xs: Any) -> Any:
        carry, ys = module.initialize_carry(jax.random.key(0), x.shape), []
        for now in xs:
            carry, y = module.apply(variables, carry, now)
            ys.append(y)
        return jnp.stack(ys)

    return Guest(given=(module, variables), inputs=(x,), own=own, paths=paths, states=states)


class LinenNet(linen.Module):
    """A leaky layer behind batch normalisation and dropout, its membrane in a collection."""

    train: bool = True

    @linen.compact
    def __call__(self, x: Any) -> Any:
        """The membrane after a step."""
        v = self.variable("neuron", "v", jnp.zeros, (BATCH, HIDDEN), "float64")
        x = linen.Dense(HIDDEN, use_bias=False, param_dtype=jnp.float64)(x)
        x = linen.BatchNorm(use_running_average=not self.train, param_dtype=jnp.float64, name="norm")(x)
        x = linen.Dropout(0.5, deterministic=not self.train)(x)
        if not self.is_initializing():
            v.value = 0.9 * v.value + x
        return jnp.tanh(v.value)


def _linen_model(train: bool) -> Guest:
    module, x = LinenNet(train=train), _x()
    variables = jax.tree.map(lambda a: a.astype("float64"), LinenNet(train=False).init(jax.random.key(0), x))
    rngs = {"dropout": jax.random.key(3)} if train else {}

    def own(xs: Any) -> Any:
        held, key, ys = dict(variables), jax.random.key(3), []
        for now in xs:
            key, drawn = jax.random.split(key)
            keys = {"dropout": drawn} if train else {}
            y, new = module.apply(held, now, mutable=["batch_stats", "neuron"], rngs=keys)
            held |= new
            ys.append(y)
        return jnp.stack(ys)

    return Guest(
        given=(etir.from_linen(module, variables, rngs=rngs),),
        inputs=(x,),
        own=own,
        paths=("Dense_0.kernel", "norm.bias", "norm.scale"),
        states=("batch_stats.norm.mean", "batch_stats.norm.var", "neuron.v", *("rngs.dropout",) * train),
    )


_GATES = tuple(f"h{gate}.{part}" for gate in "fgio" for part in ("bias", "kernel"))
_INS = ("if.kernel", "ig.kernel", "ii.kernel", "io.kernel")
_WIDE: dict[str, Any] = {"dtype": jnp.float64, "param_dtype": jnp.float64}
_PAIR = ("carry.0", "carry.1")

LINEN = {
    "linen.SimpleCell": lambda: _linen_cell(linen.SimpleCell(HIDDEN, **_WIDE), "h.kernel", "i.bias", "i.kernel"),
    "linen.GRUCell": lambda: _linen_cell(
        linen.GRUCell(HIDDEN, **_WIDE),
        *("hn.bias", "hn.kernel", "hr.kernel", "hz.kernel"),
        *(f"i{gate}.{part}" for gate in "nrz" for part in ("bias", "kernel")),
    ),
    "linen.MGUCell": lambda: _linen_cell(
        linen.MGUCell(HIDDEN, **_WIDE),
        *("hf.kernel", "hn.bias", "hn.kernel", "if.bias", "if.kernel", "in.bias", "in.kernel"),
    ),
    "linen.LSTMCell": lambda: _linen_cell(linen.LSTMCell(HIDDEN, **_WIDE), *_GATES, *_INS, states=_PAIR),
    "linen.OptimizedLSTMCell": lambda: _linen_cell(
        linen.OptimizedLSTMCell(HIDDEN, **_WIDE), *_GATES, *_INS, states=_PAIR
    ),
    "linen.ConvLSTMCell": lambda: _linen_cell(
        linen.ConvLSTMCell(2, (3,), **_WIDE),
        *("hh.bias", "hh.kernel", "ih.bias", "ih.kernel"),
        x=_x(4, 1),
        states=_PAIR,
    ),
    "linen.LinenNet": lambda: _linen_model(train=True),
    "linen.LinenNet in evaluation": lambda: _linen_model(train=False),
}


def _haiku_core(make: Any, *paths: str, x: Any = None, states: tuple[str, ...] = ("carry",)) -> Guest:
    x = _x() if x is None else x
    transformed = hk.without_apply_rng(hk.transform(lambda x, state: make()(x, state)))
    begin = hk.without_apply_rng(hk.transform(lambda: make().initial_state(BATCH)))
    carry = begin.apply({})
    params = transformed.init(jax.random.key(0), x, carry)

    def own(xs: Any) -> Any:
        state, ys = carry, []
        for k in range(jax.tree.leaves(xs)[0].shape[0]):
            y, state = transformed.apply(params, jax.tree.map(lambda a, k=k: a[k], xs), state)
            ys.append(y)
        return jnp.stack(ys)

    return Guest(given=(transformed, params), inputs=(x,), own=own, paths=paths, states=states)


def _haiku_net(x: Any) -> Any:
    """A leaky layer behind batch normalisation and dropout, its membrane a state of haiku."""
    v = hk.get_state("v", (BATCH, HIDDEN), "float64", init=jnp.zeros)
    x = hk.Linear(HIDDEN, with_bias=False, name="dense")(x)
    x = hk.BatchNorm(True, True, 0.9, name="norm")(x, is_training=True)
    v = 0.9 * v + hk.dropout(hk.next_rng_key(), 0.5, x)
    hk.set_state("v", v)
    return jnp.tanh(v)


def _haiku_model() -> Guest:
    transformed, key = hk.transform_with_state(_haiku_net), jax.random.key(3)
    params, state = transformed.init(jax.random.key(0), _x())

    def own(xs: Any) -> Any:
        now, rng, ys = state, key, []
        for x in xs:
            rng, drawn = jax.random.split(rng)
            y, now = transformed.apply(params, now, drawn, x)
            ys.append(y)
        return jnp.stack(ys)

    averages = tuple(f"norm/~/{of}_ema.{part}" for of in ("mean", "var") for part in ("average", "counter", "hidden"))
    return Guest(
        given=(etir.from_haiku(transformed, params, state, rng=key),),
        inputs=(_x(),),
        own=own,
        paths=("dense.w", "norm.offset", "norm.scale"),
        states=(*averages, "rng", "~.v"),
    )


_HAIKU_LSTM = ("carry.cell", "carry.hidden")

HAIKU = {
    "haiku.VanillaRNN": lambda: _haiku_core(
        lambda: hk.VanillaRNN(HIDDEN), *(f"vanilla_rnn/{n}.{p}" for n in ("linear", "linear_1") for p in "bw")
    ),
    "haiku.GRU": lambda: _haiku_core(lambda: hk.GRU(HIDDEN), "gru.b", "gru.w_h", "gru.w_i"),
    "haiku.LSTM": lambda: _haiku_core(lambda: hk.LSTM(HIDDEN), "lstm/linear.b", "lstm/linear.w", states=_HAIKU_LSTM),
    "haiku.Conv2DLSTM": lambda: _haiku_core(
        lambda: hk.Conv2DLSTM((3, 3), 1, 3),
        *(f"conv2_dlstm/{n}.{p}" for n in ("hidden_to_hidden", "input_to_hidden") for p in "bw"),
        x=_x(3, 3, 1),
        states=_HAIKU_LSTM,
    ),
    "haiku.ResetCore": lambda: _haiku_core(
        lambda: hk.ResetCore(hk.GRU(HIDDEN)),
        *("gru.b", "gru.w_h", "gru.w_i"),
        x=(_x(), jnp.zeros(BATCH, bool)),
    ),
    "haiku.transform_with_state": _haiku_model,
}
GUESTS: dict[str, Callable[[], Guest]] = {**NNX, **LINEN, **HAIKU}


@cache
def guest(name: str) -> Guest:
    """The model of this name, made once."""
    return GUESTS[name]()
