"""Initial values, with a batch and without; zeroing; detaching."""

import jax.numpy as jnp
import pytest

from etir.frontend import HiddenGroupState, HiddenState, HiddenTreeState, ParamState, ShortTermState, State, nn, random


@pytest.fixture
def model() -> nn.Module:
    model = nn.Module()
    model.w = ParamState(jnp.ones(2))
    model.h = HiddenState(jnp.zeros(32))
    model.group = HiddenGroupState(V=jnp.zeros(4), I=jnp.ones(4))
    model.tree = HiddenTreeState({"a": jnp.zeros(2), "b": [jnp.ones((2, 3))]})
    model.buffer = ShortTermState(jnp.zeros(2))
    model.count = State(0)
    return model


def test_with_a_batch_and_back(model):
    nn.init_all_states(model, batch_size=16)
    assert (model.h.varshape, model.group.varshape, model.buffer.varshape) == ((16, 32), (16, 4), (16, 2))
    assert (model.tree["a"].shape, model.tree["b"][0].shape) == ((16, 2), (16, 2, 3))
    assert float(model.group["I"].sum()) == 64
    assert nn.init_all_states(model) is model
    assert (model.h.varshape, model.group.varshape, model.tree["b"][0].shape) == ((32,), (4,), (2, 3))


def test_only_hidden_and_short_term_states_are_reset(model):
    for state in model.states().values():
        if state.num_state == 1:
            state.value = state.value + 5
    nn.init_all_states(model)
    assert [float(s.value.ravel()[0]) for s in (model.h, model.buffer, model.w, model.count)] == [0, 0, 6, 5]


def test_zero_keeps_the_batch(model):
    nn.init_all_states(model, batch_size=3)
    model.h.value += 1
    model.group["V"] += 1
    nn.zero_states(model)
    assert (model.h.varshape, model.group.varshape) == ((3, 32), (3, 4))
    assert (float(model.h.value.sum()), float(model.group["V"].sum()), float(model.group["I"].sum())) == (0, 0, 12)


def test_an_initialiser_is_called_for_each_sample(model):
    model.noise = HiddenState(lambda: random.randn(2))
    model.pair = HiddenGroupState(V=lambda: random.randn(2), I=jnp.zeros(2))
    nn.init_all_states(model, batch_size=3)
    assert len({float(x) for x in [*model.noise.value.ravel(), *model.pair["V"].ravel()]}) == 12
    assert model.pair["I"].tolist() == [[0, 0]] * 3
    before = model.noise.value
    nn.zero_states(model)
    assert model.noise.value.shape == before.shape
    assert not (model.noise.value == before).any()


def test_lazy_states_become_unset():
    model = nn.Module()
    model.h = HiddenState(lazy=lambda x: jnp.zeros((*x.shape[:-1], 4), x.dtype))
    for reset in (nn.zero_states, nn.init_all_states, lambda m: nn.init_all_states(m, batch_size=7)):
        model.h.ensure(jnp.ones((2, 3)))
        reset(model)
        assert not model.h.is_set
    assert model.h.ensure(jnp.ones((5, 6, 3))).shape == (5, 6, 4)


def test_detach_keeps_the_numbers(model):
    model.h.value += 1
    model.lazy = HiddenState(lazy=jnp.zeros_like)
    assert nn.detach_states(model) is model
    assert float(model.h.value.sum()) == 32
    assert not model.lazy.is_set


def test_a_dict_of_states_will_do(model):
    model.h.value += 1
    nn.init_all_states(model.states("h"), batch_size=2)
    assert (model.h.varshape, model.group.varshape) == ((2, 32), (4,))
