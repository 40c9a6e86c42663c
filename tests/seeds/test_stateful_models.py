"""The text on stateful models: what it promises, in its own order, with its programs where they are Python of ours."""

import pickle

import jax
import jax.numpy as jnp
import pytest
from oracles import relative_error

import etir
from etir import nn, transform


class Net(nn.Module):
    """Their network, smaller."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Linear(8, 6), nn.LIB(6), nn.Linear(6, 3))

    def update(self, x):
        return self.net(x)


def made() -> Net:
    etir.random.seed(0)
    return Net()


XS = 0.5 + jax.random.normal(jax.random.key(0), (5, 4, 8))
TARGETS = jax.random.normal(jax.random.key(1), (5, 4, 3))


def loss_of(y, target):
    return jnp.sum((y - target) ** 2)


def test_layers_are_stateful_and_the_caller_sees_one_array_in_and_one_out():
    """Theirs: "A layer such as LIB stores a membrane trace, GRU a hidden state, S6 an SSM state"."""
    for layer, states in ((nn.LIB(3), ["V"]), (nn.GRU(3, 3), ["h"]), (nn.S6(3, 2), ["h"])):
        x = jnp.ones((2, 3))
        assert layer(x).shape == x.shape
        assert list(layer.states(etir.HiddenState)) == states
        first, second = layer(x), layer(x)
        assert isinstance(layer, nn.LIB) or not (first == second).all()


def test_states_are_found_in_any_nesting():
    """Theirs: "It recursively walks through the model tree and finds layers, even if [...] nested modules"."""
    model = nn.Module()
    model.parts = {"deep": [nn.Sequential(nn.LIB(3), nn.Sequential(nn.GRU(3, 3))), (nn.ALIF(3),)]}
    assert list(model.states(etir.HiddenState)) == [
        "parts.deep.0.layers.0.V", "parts.deep.0.layers.1.layers.0.h", "parts.deep.1.0.V", "parts.deep.1.0.a",
    ]  # fmt: skip


def test_states_begin_unset_and_take_the_shape_of_the_first_input():
    """Theirs: "Sets all states to None. The next forward pass recreates them with the correct shape, dtype"."""
    model = made()
    lib = model.net.layers[1]
    assert not lib.V.is_set
    for shape, kind in (((4, 8), jnp.float64), ((2, 7, 8), jnp.float64), ((8,), jnp.float32)):
        nn.zero_states(model)
        assert not lib.V.is_set
        model(jnp.ones(shape, kind))
        assert lib.V.varshape == (*shape[:-1], 6)


def test_channels_of_images():
    """Theirs: `LIB(32, dim=-3)` "will create membrane states with the same batch, height, and width as the input"."""
    layer = nn.LIB(32, dim=-3)
    assert layer(jnp.ones((2, 32, 5, 6))).shape == layer.V.varshape == (2, 32, 5, 6)
    with pytest.raises(etir.EtirError, match="LIB takes 32 features along axis -3, and was given"):
        layer(jnp.ones((2, 5, 6, 32)))


def test_the_whole_sequence_keeps_the_graph_through_time():
    """Theirs, "Full sequence backpropagation": their first loop."""
    model = made()

    def running_loss(xs):
        nn.zero_states(model)
        loss = jnp.zeros(())
        for t in range(5):
            loss = loss + loss_of(model(xs[t]), TARGETS[t])
        return loss

    found = transform.grad(running_loss, model)(XS)
    step, params, states = etir.functionalise(nn.zero_states(model), XS[0])

    def plain(params):
        return sum(map(loss_of, jax.lax.scan(lambda s, x: step(params, s, x), states, XS)[1], TARGETS))

    wanted = jax.grad(plain)(params)
    assert max(relative_error(found[path], wanted[path]) for path in wanted) < 1e-12


def test_detached_after_each_step_it_is_truncated_and_the_learner_is_not():
    """Theirs, "Online or truncated learning": their loop cuts temporal gradients; D-RTRL in the same does not."""
    model = made()
    lib = model.net.layers[1]

    def cut(x, target):
        loss = loss_of(model(x), target)
        nn.detach_states(model)
        return loss

    def summed(step):
        grads = [transform.grad(step, model)(x, target) for x, target in zip(XS, TARGETS, strict=True)]
        return jax.tree.map(lambda *each: sum(each), *grads)

    def whole(xs):
        nn.zero_states(model)
        return jnp.sum(transform.for_loop(lambda x, target: loss_of(model(x), target), xs, TARGETS))

    wanted = transform.grad(whole, model)(XS)
    nn.zero_states(model)
    truncated = summed(cut)
    after = lib.V.value
    nn.zero_states(model)
    online = etir.D_RTRL(model)
    online.compile_graph(XS[0])
    exact = summed(lambda x, target: loss_of(online(x), target))
    assert relative_error(lib.V.value, after) < 1e-12
    assert max(relative_error(exact[path], wanted[path]) for path in wanted) < 1e-10
    assert relative_error(truncated["net.layers.0.w"], wanted["net.layers.0.w"]) > 1e-2


def test_inside_one_gradient_detaching_cuts():
    model = made()

    def two_steps(detached):
        nn.zero_states(model)
        model(XS[0])
        if detached:
            nn.detach_states(model)
        return loss_of(model(XS[1]), TARGETS[1])

    cut, whole = (transform.grad(lambda d=d: two_steps(d), model)()["net.layers.0.w"] for d in (True, False))
    nn.zero_states(model)
    model(XS[0])
    alone = transform.grad(lambda: loss_of(model(XS[1]), TARGETS[1]), model)()["net.layers.0.w"]
    assert relative_error(cut, alone) < 1e-12
    assert relative_error(whole, alone) > 1e-2


def test_weights_and_states_are_saved_apart():
    """Theirs: "Model parameters and hidden states are separate", and `load_states(..., strict=False)`."""
    model, other = made(), Net()
    model(XS[0])
    weights = pickle.dumps(jax.device_get(nn.save_states(model, etir.ParamState)))
    states = pickle.dumps(jax.device_get(nn.save_states(model)))
    assert set(pickle.loads(states)) == {"net.layers.1.V"}
    nn.load_states(other, pickle.loads(weights), strict=False)
    nn.load_states(other, pickle.loads(states), strict=False)
    assert (other(XS[1]) == model(XS[1])).all()


def test_compiled_parameters_infer_the_same_and_come_back():
    """Theirs: "Compile and decompile constrained parameters so inference can skip repeated activation transforms"."""
    model = made()
    lib = model.net.layers[1]
    free = lib.decay.value
    wanted = [model(x) for x in XS]
    nn.zero_states(nn.compile_params(model))
    assert lib.decay.compiled
    assert all(jnp.abs(model(x) - y).max() < 1e-12 for x, y in zip(XS, wanted, strict=True))
    nn.decompile_params(model)
    assert jnp.abs(lib.decay.value - free).max() < 1e-6


def test_every_kind_of_state_is_there_and_state_is_explicit():
    """From the text on why state is explicit: a function's states can be enumerated, filtered, split and merged."""
    model = made()
    uses = transform.states_of(model, XS[0])
    assert sorted(uses.writes) == ["net.layers.1.V"]
    assert set(uses.reads) == set(model.states())
    weights, rest = nn.split_states(model, etir.ParamState, ...)
    assert set(nn.merge_states(weights, rest)) == set(model.states())
    structure, values = nn.split(model)
    assert (nn.merge(structure, values)(XS[0]) == model(XS[0])).all()
