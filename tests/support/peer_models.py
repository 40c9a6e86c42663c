"""Models of equinox, brainstate, braintrace, brainpy, penzai and spyx as they are: see `framework_models`.

A library that a leg lacks skips the tests of its models.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from framework_models import BATCH, HIDDEN, INPUTS, Guest

import etir


def _x(*shape: int) -> jax.Array:
    return jnp.zeros(shape or (BATCH, INPUTS), "float64")


def in_float64(module: Any) -> Any:
    """A brainstate module whose states are in float64, which its environment makes in float32."""

    def wide(x: Any) -> Any:
        return jnp.asarray(x, "float64") if jnp.issubdtype(x.dtype, jnp.floating) else x

    for state in module.states().values():
        state.value = jax.tree.map(wide, state.value)
    return module


def run_eagerly(module: Any, xs: Any) -> Any:
    """The outputs of a brainstate module's own calls; its states are put back afterwards."""
    states = module.states()
    before = {path: state.value for path, state in states.items()}
    ys = jnp.stack([module(x) for x in xs])
    for path, value in before.items():
        states[path].value = value
    return ys


def _brainstate_cell(library: str, kind: str, paths: dict[str, str], *states: str) -> Guest:
    """`paths` gives, for each layer of the cell, what its weight holds."""
    brainstate, home = pytest.importorskip("brainstate"), pytest.importorskip(library)
    brainstate.random.seed(0)
    cell = getattr(home.nn, kind)(INPUTS, HIDDEN)
    brainstate.nn.init_all_states(cell, BATCH)
    in_float64(cell)
    return Guest(
        given=(cell,),
        inputs=(_x(),),
        own=lambda xs: run_eagerly(cell, xs),
        paths=_written(paths),
        states=states or ("h",),
    )


def _written(paths: dict[str, str]) -> tuple[str, ...]:
    """For each layer, the paths of what its weight holds."""
    return tuple(f"{layer}.{part}" if part else layer for layer, parts in paths.items() for part in parts.split(","))


BOTH, WEIGHT = "bias,weight", "weight"


def _layers(*names: str, parts: str = BOTH) -> dict[str, str]:
    return {f"{name}.weight": parts for name in names}


BRAINSTATE = {
    "brainstate.ValinaRNNCell": lambda: _brainstate_cell("brainstate", "ValinaRNNCell", _layers("W")),
    "brainstate.GRUCell": lambda: _brainstate_cell("brainstate", "GRUCell", _layers("Wh", "Wrz")),
    "brainstate.MGUCell": lambda: _brainstate_cell("brainstate", "MGUCell", _layers("Wf", "Wh")),
    "brainstate.LSTMCell": lambda: _brainstate_cell("brainstate", "LSTMCell", _layers("W"), "c", "h"),
    "brainstate.URLSTMCell": lambda: _brainstate_cell(
        "brainstate", "URLSTMCell", {**_layers("W", parts=WEIGHT), "bias": ""}, "c", "h"
    ),
}
BRAINTRACE = {
    "braintrace.ValinaRNNCell": lambda: _brainstate_cell("braintrace", "ValinaRNNCell", _layers("W")),
    "braintrace.GRUCell": lambda: _brainstate_cell("braintrace", "GRUCell", _layers("Wh", "Wr", "Wz")),
    "braintrace.MGUCell": lambda: _brainstate_cell("braintrace", "MGUCell", _layers("Wf", "Wh")),
    "braintrace.LSTMCell": lambda: _brainstate_cell(
        "braintrace", "LSTMCell", _layers("Wf", "Wg", "Wi", "Wo"), "c", "h"
    ),
    "braintrace.URLSTMCell": lambda: _brainstate_cell(
        "braintrace", "URLSTMCell", {**_layers("Wf", "Wo", "Wr", "Wu", parts=WEIGHT), "bias": ""}, "c", "h"
    ),
    "braintrace.MinimalRNNCell": lambda: _brainstate_cell("braintrace", "MinimalRNNCell", _layers("W_u", "phi")),
    "braintrace.MiniGRU": lambda: _brainstate_cell("braintrace", "MiniGRU", _layers("W_x", "W_z")),
    "braintrace.MiniLSTM": lambda: _brainstate_cell("braintrace", "MiniLSTM", _layers("W_f", "W_i", "W_x")),
    "braintrace.LRUCell": lambda: _brainstate_cell(
        "braintrace",
        "LRUCell",
        {
            **_layers("B_im", "B_re", "C_im", "C_re", parts=WEIGHT),
            "D": "",
            "gamma_log": "",
            "nu_log": "",
            "theta_log": "",
        },
        "h_im",
        "h_re",
    ),
    "braintrace.CFNCell": lambda: _brainstate_cell("braintrace", "CFNCell", _layers("Wf", "Wh", "Wi")),
}


Parts = Callable[[Any, Any, Any], dict[str, Any]]
"""What a model has behind its first dense layer, of `(brainpy.state, brainstate.nn, brainunit)`."""


def _brainpy(parts: Parts, step: Callable[..., Any], paths: dict[str, str], *states: str, dt: float = 1.0) -> Guest:
    """A model of `brainpy.state`, whose step is `step(model, x, brainunit)`, with a `dt` in ms around it."""
    pytest.importorskip("brainpy")
    import brainpy.state
    import brainstate
    import brainunit as u

    class Net(brainstate.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = brainstate.nn.Linear(INPUTS, HIDDEN)
            for name, part in parts(brainpy.state, brainstate.nn, u).items():
                setattr(self, name, part)

        def update(self, x: Any) -> Any:
            return step(self, x, u)

    def own(xs: Any) -> Any:
        with brainstate.environ.context(dt=dt * u.ms):
            return run_eagerly(net, xs)

    brainstate.random.seed(0)
    with brainstate.environ.context(dt=dt * u.ms):
        net = Net()
    brainstate.nn.init_all_states(net, BATCH)
    in_float64(net)
    given = (etir.from_brainstate(net, dt=dt * u.ms),)
    return Guest(given=given, inputs=(_x(),), own=own, paths=_written(_layers("dense") | paths), states=states)


def _braintrace_readout(**options: Any) -> Any:
    import braintrace

    return braintrace.nn.LeakyRateReadout(HIDDEN, HIDDEN, **options)


def _lif(bp: Any, u: Any) -> Any:
    return bp.LIF(HIDDEN, tau=5.0 * u.ms, V_th=0.3 * u.mV, V_reset=0.0 * u.mV)


def _synapse(bp: Any, nn: Any, u: Any) -> dict[str, Any]:
    """A layer of neurons, and a second one behind exponential synapses with weights in millisiemens."""
    import braintools

    to = {"w_init": braintools.init.KaimingNormal(unit=u.mS), "b_init": braintools.init.ZeroInit(unit=u.mS)}
    after = _lif(bp, u)
    kinds: dict[str, Any] = {"syn": bp.Expon(HIDDEN, tau=4.0 * u.ms), "out": bp.CUBA(scale=5.0 * u.volt), "post": after}
    return {
        "before": _lif(bp, u),
        "proj": bp.AlignPostProj(comm=nn.Linear(HIDDEN, HIDDEN, **to), **kinds),
        "after": after,
    }


def _through_synapse(net: Any, x: Any, u: Any) -> Any:
    net.proj(net.before(5.0 * net.dense(x) * u.mA))
    return net.after(0.0 * u.mA)


BRAINPY = {
    "brainpy.LIF": lambda: _brainpy(
        lambda bp, nn, u: {"neurons": _lif(bp, u), "out": nn.Linear(HIDDEN, HIDDEN)},
        lambda net, x, u: net.out(net.neurons(5.0 * net.dense(x) * u.mA)),
        _layers("out"),
        "neurons.V",
    ),
    "brainpy.Izhikevich": lambda: _brainpy(
        lambda bp, nn, u: {"neurons": bp.Izhikevich(HIDDEN), "out": nn.Linear(HIDDEN, HIDDEN)},
        lambda net, x, u: net.out(net.neurons((40.0 * net.dense(x) + 150.0) * u.mV / u.ms)),
        _layers("out"),
        "neurons.V",
        "neurons.u",
        dt=0.25,
    ),
    "brainpy.AlignPostProj": lambda: _brainpy(
        _synapse, _through_synapse, _layers("proj.comm"), "after.V", "before.V", "proj.syn.g"
    ),
    "brainpy.LeakyRateReadout": lambda: _brainpy(
        lambda bp, nn, u: {"readout": bp.LeakyRateReadout(HIDDEN, HIDDEN, tau=3.0 * u.ms)},
        lambda net, x, u: net.readout(net.dense(x)),
        {"readout.weight": ""},
        "readout.r",
    ),
    "braintrace.LeakyRateReadout": lambda: _brainpy(
        lambda bp, nn, u: {"readout": _braintrace_readout(tau=3.0 * u.ms)},
        lambda net, x, u: net.readout(net.dense(x)),
        {"readout.W": ""},
        "readout.r",
    ),
}


def _equinox_cell(kind: str, paths: tuple[str, ...], states: tuple[str, ...]) -> Guest:
    import equinox as eqx

    cell = getattr(eqx.nn, kind)(INPUTS, HIDDEN, dtype=jnp.float64, key=jax.random.key(0))

    def own(xs: Any) -> Any:
        h, ys = jnp.zeros((BATCH, HIDDEN), "float64"), []
        h = h if kind == "GRUCell" else (h, h)
        for x in xs:
            h = jax.vmap(cell)(x, h)
            ys.append(h if kind == "GRUCell" else h[0])
        return jnp.stack(ys)

    return Guest(given=(cell,), inputs=(_x(),), own=own, paths=paths, states=states)


def _equinox_state() -> Guest:
    """A leaky layer with its states, a counter among them, in an `eqx.nn.State`."""
    import equinox as eqx

    class Leaky(eqx.Module):
        dense: Any
        memory: Any
        steps: Any

        def __init__(self, key: Any) -> None:
            self.dense = eqx.nn.Linear(INPUTS, HIDDEN, dtype=jnp.float64, key=key)
            zeros = jnp.zeros(HIDDEN, "float64")
            self.memory = eqx.nn.StateIndex({"a": zeros, "v": zeros})
            self.steps = eqx.nn.StateIndex(jnp.zeros((), "int32"))

        def __call__(self, x: Any, state: Any) -> Any:
            old, steps = state.get(self.memory), state.get(self.steps)
            v = 0.9 * old["v"] + jnp.tanh(self.dense(x)) - 0.2 * old["a"]
            new = {"a": 0.5 * old["a"] + jnp.tanh(v), "v": v}
            return new["a"] * (1 + steps % 2), state.set(self.memory, new).set(self.steps, steps + 1)

    model, state = eqx.nn.make_with_state(Leaky)(jax.random.key(0))

    def own(xs: Any) -> Any:
        now, ys = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(state)), []
        for x in xs:
            y, now = model(x, now)
            ys.append(y)
        return jnp.stack(ys)

    given = (etir.from_equinox(model, state),)
    return Guest(
        given=given, inputs=(_x(INPUTS),), own=own, paths=("dense.bias", "dense.weight"),
        states=("memory.a", "memory.v", "steps"),
    )  # fmt: skip


def _penzai() -> Guest:
    """A leaky layer of named arrays around a linear layer of penzai's."""
    pytest.importorskip("penzai")
    from penzai import pz

    @pz.pytree_dataclass
    class Leaky(pz.nn.Layer):
        inner: Any
        h: Any

        def __call__(self, x: Any, **_: Any) -> Any:
            self.h.value = 0.9 * self.h.value + pz.nx.nmap(jnp.tanh)(self.inner(pz.nx.wrap(x, "batch", "in")))
            return self.h.value.unwrap("batch", "out")

    axes: dict[str, Any] = {"input_axes": {"in": INPUTS}, "output_axes": {"out": HIDDEN}}
    inner = pz.nn.Affine.from_config("affine", jax.random.key(0), **axes, dtype=jnp.float64)
    model = Leaky(inner, pz.StateVariable(value=pz.nx.zeros({"batch": BATCH, "out": HIDDEN}, dtype=jnp.float64)))

    def own(xs: Any) -> Any:
        before, ys = model.h.value, jnp.stack([model(x) for x in xs])
        model.h.value = before
        return ys

    paths = ("affine.AddBias.bias", "affine.Linear.weights")
    return Guest(given=(model,), inputs=(_x(),), own=own, paths=paths, states=("h",))


def _spyx(kind: str, *paths: str) -> Guest:
    """A neuron of spyx between two dense layers of nnx."""
    spyx = pytest.importorskip("spyx")
    rngs = nnx.Rngs(0)
    model = spyx.nn.Sequential(
        nnx.Linear(INPUTS, HIDDEN, param_dtype=jnp.float64, rngs=rngs),
        getattr(spyx.nn, kind)((HIDDEN,), threshold=0.3, rngs=rngs),
        nnx.Linear(HIDDEN, HIDDEN, param_dtype=jnp.float64, rngs=rngs),
    )

    def own(xs: Any) -> Any:
        state, ys = model.initial_state(BATCH), []
        for x in xs:
            y, state = model(x, state)
            ys.append(y)
        return jnp.stack(ys)

    dense = tuple(f"layers.{k}.{part}" for k in (0, 2) for part in ("bias", "kernel"))
    return Guest(
        given=(model,), inputs=(_x(),), own=own, paths=(*dense, *(f"layers.1.{p}" for p in paths)), states=("carry.1",)
    )


OTHERS = {
    "equinox.GRUCell": lambda: _equinox_cell("GRUCell", ("bias", "bias_n", "weight_hh", "weight_ih"), ("carry",)),
    "equinox.LSTMCell": lambda: _equinox_cell("LSTMCell", ("bias", "weight_hh", "weight_ih"), ("carry.0", "carry.1")),
    "equinox.State": _equinox_state,
    "penzai.Leaky": _penzai,
    "spyx.LIF": lambda: _spyx("LIF", "beta"),
    "spyx.ALIF": lambda: _spyx("ALIF", "beta", "gamma"),
    "spyx.CuBaLIF": lambda: _spyx("CuBaLIF", "alpha", "beta"),
    "spyx.RLIF": lambda: _spyx("RLIF", "beta", "recurrent_w"),
}
NEWEST_ONLY = {**BRAINTRACE, **BRAINPY}
"""Of libraries that need a newer Python than the first leg has."""
PEERS = {**OTHERS, **BRAINSTATE, **NEWEST_ONLY}

EXACT = (
    "braintrace.LRUCell",
    "brainpy.LIF",
    "brainpy.Izhikevich",
    "equinox.State",
    "penzai.Leaky",
    "spyx.LIF",
    "spyx.ALIF",
    "spyx.CuBaLIF",
)
"""The models of which every weight is exact under `d_rtrl`."""
