"""How models of equinox, brainstate, brainpy, penzai and spyx are given and got back; what is said of wrong ones."""

from textwrap import dedent

import brainstate
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peer_models import PEERS, in_float64

import etir
from etir.ir.step import leaf_paths

x = jnp.zeros((2, 3))
GRU = brainstate.nn.GRUCell(3, 4)
TRAINED = "equinox.State", "brainstate.LSTMCell", "penzai.Leaky", "spyx.ALIF"


def said(call) -> str:
    with pytest.raises(etir.EtirError) as caught:
        call()
    return str(caught.value).replace(f"{type(caught.value).__name__}: ", "")


def wanted(text: str) -> str:
    return dedent(text).strip("\n")


class Stateful(eqx.Module):
    index: eqx.nn.StateIndex

    def __init__(self):
        self.index = eqx.nn.StateIndex(jnp.zeros(3))

    def __call__(self, x, state):
        return x, state.set(self.index, 0.5 * state.get(self.index) + x)


STATED, STATE = eqx.nn.make_with_state(Stateful)()


class Odd(eqx.Module):
    def __call__(self, x, state):
        return x, (state, state)


REFUSED = {
    "equinox, a class": (
        lambda: etir.compile(Stateful, x),
        """
        error: equinox: the class 'Stateful' was given where an eqx.Module is wanted [model-kind]
          help: etir.compile(etir.from_equinox(model, state), x), with an eqx.Module that is called as model(x, state)
        """,
    ),
    "equinox, no module": (
        lambda: etir.from_equinox(jnp.tanh),
        """
        error: equinox: 'PjitFunction' was given where an eqx.Module is wanted [model-kind]
          help: etir.compile(etir.from_equinox(model, state), x), with an eqx.Module that is called as model(x, state)
        """,
    ),
    "equinox, without its state": (
        lambda: etir.compile(STATED, x),
        """
        error: equinox: 'Stateful' was given without its eqx.nn.State [model-uninitialised]
          help: model, state = eqx.nn.make_with_state(Model)(...), then etir.compile(etir.from_equinox(model, state), \
x); any other state is a pytree: etir.from_equinox(model, jnp.zeros(...))
        """,
    ),
    "equinox, no state at all": (
        lambda: etir.compile(eqx.nn.Identity(), x),
        """
        error: equinox: 'Identity' was given without a state [model-uninitialised]
          help: model, state = eqx.nn.make_with_state(Model)(...), then etir.compile(etir.from_equinox(model, state), \
x); any other state is a pytree: etir.from_equinox(model, jnp.zeros(...))
        """,
    ),
    "equinox, another result": (
        lambda: etir.compile(etir.from_equinox(Odd(), jnp.zeros(3)), x[0]),
        """
        error: equinox: 'Odd' returned PyTreeDef((*, (*, *))); wanted its output and the new state, PyTreeDef(*) \
[model-kind]
          help: etir.compile(etir.from_equinox(model, state), x), with an eqx.Module that is called as model(x, state)
        """,
    ),
    "brainstate, a class": (
        lambda: etir.compile(brainstate.nn.GRUCell, x),
        """
        error: brainstate: the class 'GRUCell' was given where a brainstate.nn.Module is wanted [model-kind]
          help: etir.compile(model, x), with a brainstate.nn.Module that is called as model(x) and takes one step
        """,
    ),
    "brainstate, without states": (
        lambda: etir.compile(GRU, x),
        """
        error: brainstate: 'GRUCell' is called before its states were made: 'GRUCell' object has no attribute 'h' \
[model-uninitialised]
          help: make them first: brainstate.nn.init_all_states(model), or init_all_states(model, batch_size)
        """,
    ),
    "brainstate, no state": (
        lambda: etir.compile(brainstate.nn.Linear(3, 4), x),
        """
        error: brainstate: 'Linear' keeps no state from one step to the next, so there is nothing to learn online \
[model-stateless]
          help: make them first: brainstate.nn.init_all_states(model), or init_all_states(model, batch_size)
        """,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.each
def test_what_is_refused(name: str):
    call, text = REFUSED[name]
    assert said(call) == wanted(text)


def test_a_fault_of_the_model_itself_is_its_own():
    class Broken(brainstate.nn.Module):
        def update(self, x):
            return x.nothing

    with pytest.raises(AttributeError, match="nothing"):
        etir.compile(Broken(), x)


def test_an_input_of_another_width_is_told_and_the_librarys_own_fault_is_kept():
    net = brainstate.nn.Sequential(brainstate.nn.Linear(3, 4), brainstate.nn.MGUCell(4, 2))
    brainstate.nn.init_all_states(net, batch_size=2)
    with pytest.raises(
        etir.EtirError, match=r"'Sequential' fails on the example input f32\[2,5\] \[model-call\]"
    ) as told:
        etir.compile(net, jnp.ones((2, 5), "float32"))
    assert "TypeError: dot_general requires" in str(told.value)
    assert type(told.value.__cause__).__name__ == "BrainStateError"


def test_arguments_are_counted():
    cell = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    for call, taken in (
        (lambda: etir.compile(cell), "no input was given to 'GRUCell(input, hidden, *, key=None)'"),
        (lambda: etir.compile(cell, x, x), "the 2 inputs given do not fit 'GRUCell(input, hidden, *, key=None)'"),
        (
            lambda: etir.compile(initialised(brainstate.nn.GRUCell(3, 4), 2)),
            "'update(x)' does not take the 0 example values",
        ),
    ):
        assert taken in said(call)
        assert "[step-arguments]" in said(call)


def test_a_whole_sequence_is_seen():
    """Two leading axes are no batch: the first entry is what a step takes."""
    sequence = jnp.zeros((100, 2, 3))
    for model in (eqx.nn.GRUCell(3, 4, key=jax.random.key(0)), initialised(brainstate.nn.GRUCell(3, 4), 2)):
        assert "f32[100,2,3]; the step fits f32[2,3], the first of the leading axis [example-sequence]" in said(
            lambda model=model: etir.compile(model, sequence.astype("float32"))
        )


def test_penzai_refuses():
    pz = pytest.importorskip("penzai.pz", reason="penzai is not installed on this leg")
    assert said(lambda: etir.compile(pz.nn.Identity, x)) == wanted("""
        error: penzai: the class 'Identity' was given where a pz.nn.Layer is wanted [model-kind]
          help: etir.compile(model, x), with a pz.nn.Layer that is called as model(x) and takes one step
        """)
    assert said(lambda: etir.compile(pz.nn.Identity(), x)) == wanted("""
        error: penzai: 'Identity' keeps no state from one step to the next, so there is nothing to learn online \
[model-stateless]
          help: keep what is carried from step to step in a pz.StateVariable of the layer, and write its .value \
in the call
        """)


def test_penzai_streams_of_random_numbers_go_on_from_step_to_step():
    pz = pytest.importorskip("penzai.pz", reason="penzai is not installed on this leg")

    @pz.pytree_dataclass
    class Leaky(pz.nn.Layer):
        w: pz.Parameter
        h: pz.StateVariable
        drop: pz.nn.Layer

        def __call__(self, x, **side_inputs):
            dropped = self.drop(pz.nx.wrap(x, "in"), **side_inputs).unwrap("in")
            self.h.value = 0.9 * self.h.value + jnp.tanh(dropped @ self.w.value)
            return self.h.value

    key, w, xs = jax.random.key(3), jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.ones((5, 4))
    drop = pz.nn.StochasticDropout(drop_rate=0.5)
    layer = Leaky(pz.Parameter(value=w, label="w"), pz.StateVariable(value=jnp.zeros(3), label="h"), drop)
    stream = pz.RandomStream.from_base_key(key)
    learner = etir.compile(etir.from_penzai(layer, random_stream=stream), xs[0], rule="d_rtrl", sites="auto")
    assert str(learner.certificate["w"].label) == "exact"
    found = learner.grad(lambda y: jnp.sum(y**2), reduction="sum")(learner.params, learner.init(), xs)

    def total(w):
        h, sum_ = jnp.zeros(3), 0.0
        for k, x in enumerate(xs):
            at = pz.RandomStream(base_key=key, offset=pz.StateVariable(value=k, label="offset"))
            h = 0.9 * h + jnp.tanh(drop(pz.nx.wrap(x, "in"), random_stream=at).unwrap("in") @ w)
            sum_ += jnp.sum(h**2)
        return sum_

    np.testing.assert_allclose(found.grads["w"], jax.grad(total)(w), rtol=1e-10)
    learner.write_back(layer, found.grads, found.carry.states)
    assert int(stream.offset.value) == 5


def test_spyx_refuses():
    spyx = pytest.importorskip("spyx", reason="spyx is not installed on this leg")
    assert said(lambda: etir.compile(spyx.nn.LIF, x)) == wanted("""
        error: spyx: the class 'LIF' was given where a neuron with an initial state is wanted [model-kind]
          help: etir.compile(model, x), with a neuron of spyx.nn or a spyx.nn.Sequential, and the x of one step, \
[batch, ...]
        """)


@pytest.mark.second_leg
def test_brainpy_wants_its_environment():
    state = pytest.importorskip("brainpy.state", reason="brainpy is not installed on this leg")
    neurons = state.LIF(3)
    brainstate.nn.init_all_states(neurons)
    assert said(lambda: etir.compile(neurons, x[0])) == wanted("""
        error: brainstate: 'LIF' asks brainstate's environment for 'dt', which is not set [model-uninitialised]
          help: etir.compile(etir.from_brainstate(model, dt=...), x), or compile in brainstate.environ.context
        """)


@pytest.mark.parametrize("name", TRAINED)
def test_results_are_written_into_the_model(name: str):
    """What is compiled again from the model, or from what write_back returns, begins with the results."""
    of = PEERS[name]()
    learner = etir.compile(*of.given, *of.inputs, on_truncated="ignore")
    params = jax.tree.map(lambda p: p + 1, learner.params)
    states = jax.tree.map(lambda s: s + 1, learner.states)
    model = of.given[0]
    if name == "equinox.State":
        model, state = learner.write_back(own(of), params, states)
        again = etir.compile(model, state, *of.inputs)
    else:
        assert learner.write_back(model, params, states) is model
        again = etir.compile(model, *of.inputs, on_truncated="ignore")
    assert same(again.params, params)
    if name != "spyx.ALIF":  # its state is passed by hand, and is not in the model
        assert same(again.states, states)


def own(of):
    """The module that an adapted model was made from."""
    return of.given[0].functional.args[0]


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for (_, x), (_, y) in zip(leaf_paths(a, ""), leaf_paths(b, ""), strict=True))


class Normalised(eqx.Module):
    """A leaky layer behind batch normalisation: statistics in its `eqx.nn.State`, and a counter of a weak type."""

    norm: eqx.nn.BatchNorm
    dense: eqx.nn.Linear
    v: eqx.nn.StateIndex

    def __init__(self, key):
        self.norm = eqx.nn.BatchNorm(4, axis_name="batch", mode="batch")
        self.dense = eqx.nn.Linear(3, 4, key=key)
        self.v = eqx.nn.StateIndex(jnp.zeros((2, 4)))

    def __call__(self, x, state):
        one = lambda x, state: self.norm(self.dense(x), state)  # noqa: E731
        y, state = jax.vmap(one, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)
        v = 0.9 * state.get(self.v) + jnp.tanh(y)
        return v, state.set(self.v, v)


def test_statistics_of_a_batch_are_carried():
    model, state = eqx.nn.make_with_state(Normalised)(jax.random.key(0))
    checked = etir.check(model, state, jnp.zeros((2, 3)), on_truncated="ignore")
    assert checked.holds
    assert [str(f.label.label) for f in checked if f.label.path.startswith("norm")] == ["exact", "exact"]


@pytest.mark.slow
def test_a_module_that_brainstate_maps_over_samples():
    cell = brainstate.nn.GRUCell(3, 4)
    make = lambda: brainstate.nn.init_all_states(cell) and None  # noqa: E731
    brainstate.transform.vmap_new_states(make, state_tag="new", axis_size=2)()
    checked = etir.check(brainstate.nn.Vmap(cell, vmap_states="new"), jnp.zeros((2, 3)), on_truncated="ignore")
    assert checked.holds


def test_random_numbers_are_a_state():
    """Dropout draws anew at each step, and begins again where the key does; without `fit` there is none."""
    net = brainstate.nn.Sequential(brainstate.nn.Dropout(0.5), brainstate.nn.ValinaRNNCell(3, 4))
    brainstate.nn.init_all_states(net, 2)
    in_float64(net)
    ones = jnp.ones((3, 2, 3), "float64")
    learner = etir.compile(etir.from_brainstate(net, fit=True), ones[0], on_truncated="ignore")
    assert sorted(learner.states) == ["layers.1.h", "random"]
    after, ys = learner.predict(xs=ones)
    again, _ = learner.predict(states=after, xs=ones)
    assert same(ys, learner.predict(xs=ones)[1])
    assert not np.allclose(ys[0], ys[1])
    assert not np.array_equal(jax.random.key_data(after["random"]), jax.random.key_data(again["random"]))
    assert "random" not in etir.compile(etir.from_brainstate(net, fit=False), ones[0], on_truncated="ignore").states
    assert "asks brainstate's environment for 'fit'" in said(lambda: etir.compile(net, ones[0]))


def test_a_number_that_the_step_counts_up_is_refused():
    class Counting(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.h, self.count = brainstate.HiddenState(jnp.zeros(3)), 0

        def update(self, x):
            self.count += 1
            self.h.value = 0.5 * self.h.value + self.count * x
            return self.h.value

    assert said(lambda: etir.compile(Counting(), jnp.ones(3))) == wanted("""
        error: brainstate: the step changes 'count', and its first value would be compiled in [attribute-written]
          help: keep it in a brainstate State
    """)


def test_a_list_that_a_module_of_equinox_counts_in_is_refused():
    class Counting(eqx.Module):
        w: jax.Array
        log: list[int] = eqx.field(static=True)

        def __call__(self, x, state):
            self.log[0] += 1
            return x, 0.9 * state + self.log[0] * self.w * x

    with pytest.raises(etir.EtirError, match=r"equinox: the step changes 'log.0', .* \[attribute-written\]"):
        etir.compile(etir.from_equinox(Counting(jnp.ones((2, 3)), [0]), jnp.zeros((2, 3))), x)


def test_a_written_weight_is_refused():
    class Plastic(brainstate.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = brainstate.ParamState(jnp.ones(3))
            self.h = brainstate.HiddenState(jnp.zeros(3))

        def update(self, x):
            self.h.value = 0.5 * self.h.value + self.w.value * x
            self.w.value = self.w.value + 0.1 * self.h.value
            return self.h.value

    assert said(lambda: etir.compile(Plastic(), x[0])) == wanted("""
        error: brainstate: the step writes 'w', which must be held still [weight-written]
          help: keep what changes by itself in another kind of State
        """)


def test_another_batch_compiles_when_it_is_met():
    cell = in_float64(initialised(brainstate.nn.ValinaRNNCell(3, 4), 2))
    learner = etir.compile(cell, jnp.zeros((2, 3), "float64"), on_truncated="ignore")
    wide = etir.compile(in_float64(initialised(cell, 5)), jnp.zeros((5, 3), "float64"), on_truncated="ignore")
    xs = jax.random.normal(jax.random.key(0), (4, 5, 3), "float64")
    zeros = {"h": jnp.zeros((5, 4), "float64")}
    assert same(learner.predict(wide.params, zeros, xs)[1], wide.predict(xs=xs)[1])


def initialised(module, batch):
    brainstate.nn.init_all_states(module, batch)
    return module


@pytest.mark.second_leg
def test_units_stay_inside():
    """States are numbers in the units that they had; what a module returns has its unit, and so has an input."""
    state = pytest.importorskip("brainpy.state", reason="brainpy is not installed on this leg")
    import brainunit as u

    neurons = initialised(state.LIF(3, tau=5 * u.ms, V_initializer=lambda *_: jnp.ones(3) * 2e-3 * u.volt), None)
    current = jnp.ones(3) * u.mA
    learner = etir.compile(etir.from_brainstate(neurons, dt=1 * u.ms), current)
    (found,) = learner.states.values()
    assert not hasattr(found, "unit")
    after, _ = learner.predict(xs=jax.tree.map(lambda a: a[None], current))
    learner.write_back(neurons, learner.params, after)
    assert (neurons.V.value.unit, float(neurons.V.value.mantissa[0])) == (u.volt, float(after["V"][0]))
