"""Modules taken apart and put together: under JAX's own transforms, with filters, lazy states and samples."""

import pickle

import jax
import jax.numpy as jnp
import pytest
from oracles import relative_error

from etir.frontend import HiddenState, ParamState, nn, random, transform
from etir.ir.diagnostics import EtirError


class Net(nn.Module):
    def __init__(self) -> None:
        self.layers = {"in": nn.Linear(2, 3), "cells": [nn.MinGRU(3, 3), nn.LIB(3)]}
        self.h = HiddenState(jnp.zeros(3))
        self.again = self.h

    def update(self, x):
        y = self.layers["cells"][1](self.layers["cells"][0](self.layers["in"](x)))
        self.h.value = 0.5 * self.h.value + y
        return self.h.value


X = jnp.array([0.5, 2.0])


def made() -> Net:
    random.seed(0)
    return Net()


def test_back_and_forth():
    model = made()
    model(X)
    structure, values = nn.split(model)
    assert repr(structure) == "Structure(Net)"
    assert list(values) == list(model.states())
    twin = nn.merge(structure, values)
    assert type(twin) is Net
    assert twin.again is twin.h
    assert twin.layers["cells"][0].h is not model.layers["cells"][0].h
    assert (twin(2 * X) == model(2 * X)).all()
    twin(X)
    assert not (twin.h.value == model.h.value).all()


def test_unset_states_stay_unset_and_take_their_shape_later():
    structure, values = nn.split(made())
    assert set(made().states()) - set(values) == {"layers.cells.0.h", "layers.cells.1.V"}
    for batch in ((), (4,)):
        assert nn.merge(structure, values | {"h": jnp.zeros((*batch, 3))})(jnp.ones((*batch, 2))).shape == (*batch, 3)


def test_it_is_a_pure_function_under_jaxs_own_transforms():
    model = made()
    model(X)
    structure, weights, states = nn.split(model, ParamState, ...)

    @jax.jit
    def step(weights, states, x):
        inside = nn.merge(structure, weights, states)
        y = inside(x)
        return y.sum(), nn.split(inside, ParamState, ...)[2]

    found, after = jax.grad(step, has_aux=True)(weights, states, X)
    wanted = transform.grad(lambda x: model(x).sum(), model)(X)
    assert max(relative_error(found[path], wanted[path]) for path in wanted) < 1e-12
    assert {path: bool((after[path] == model.states()[path].value).all()) for path in after} == dict.fromkeys(
        states, True
    )
    ys, _ = jax.vmap(step, in_axes=(None, None, 0))(weights, states, jnp.stack([X, 2 * X]))
    assert ys.shape == (2,)


def test_a_layer_of_other_weights_has_states_of_their_type():
    structure, values = nn.split(nn.MinGRU(2, 3))
    light = nn.merge(structure, {path: x.astype(jnp.float32) for path, x in values.items()})
    assert light(X.astype(jnp.float32)).dtype == light.h.value.dtype == jnp.float32


def test_samples_stay_samples():
    model = made()
    model(X)
    transform.vmap_new_states(lambda: nn.init_all_states(model) and None, axis_size=2)()
    twin = nn.merge(*nn.split(model))
    assert repr(twin.h) == "HiddenState('h', f64[2,3] per new)"


def test_modules_can_be_pickled():
    model = nn.Sequential(nn.Linear(2, 3), nn.GRU(3, 4), nn.LeakyReadout(4, 2, leak=nn.Constrained(0.7)))
    model(X)
    twin = pickle.loads(pickle.dumps(model))
    assert (twin(X) == model(X)).all()


def test_mistakes():
    structure, values = nn.split(made())
    h = values.pop("h")
    with pytest.raises(EtirError, match=r"merge was given nothing for 'h' \[path-missing\]"):
        nn.merge(structure, values)
    with pytest.raises(EtirError, match=r"merge was given 'hh', which the model does not have \[path-unexpected\]"):
        nn.merge(structure, values, {"h": h, "hh": h})
    with pytest.raises(EtirError, match=r"two different states have the path 'h' \[path-clash\]"):
        nn.merge(structure, values, {"h": h}, {"h": h})
    with pytest.raises(EtirError, match=r"split takes a Module .* and was given a dict \[not-a-module\]"):
        nn.split({})
