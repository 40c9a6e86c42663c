"""Layers that take their shapes from the first input, in a learner that is an object: begun anew, mapped, refused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from step_by_step import assert_same, gradients

import etir
from etir import EtirError, nn, transform

XS = jax.random.normal(jax.random.key(0), (6, 4, 3))
"""Steps, samples, features."""


def test_lazily_shaped_layers_learn_as_a_batch_by_vmap():
    def made() -> nn.Module:
        etir.random.seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.LIB(2))

    mapped, batched = made(), made()
    online, plain = etir.D_RTRL(etir.vmap(mapped)), etir.D_RTRL(batched)
    for learner in (online, plain):
        learner.compile_graph(XS[0])
    assert_same(gradients(online, mapped, XS), gradients(plain, batched, XS))


def lazy_layers() -> nn.Module:
    etir.random.seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.LIB(2), nn.MinGRU(2, 2))


def test_lazily_shaped_layers_begin_anew_in_any_batch():
    """`zero_states` unsets them: the next step, or the next window, gives them the values of its own batch."""
    model = lazy_layers()
    online = etir.D_RTRL(model, window=3)
    online.compile_graph(XS[0])
    first = gradients(online, model, XS)
    for begin in (nn.zero_states, nn.init_all_states):
        assert_same(gradients(begin(online), model, XS), first)
    halves = [gradients(nn.zero_states(online), model, half) for half in (XS[:, :2], XS[:, 2:])]
    assert_same(jax.tree.map(jnp.add, *halves), first)
    assert model.layers[1].V.varshape == (2, 2)

    def loss(run: Callable[..., Any]) -> Any:
        nn.zero_states(online)
        return jnp.sum(run(XS[:3]) ** 2)

    windows = [online.window, lambda xs: transform.for_loop(online, xs)]
    whole, stepped = (transform.jit(transform.grad(partial(loss, run), model))() for run in windows)
    step, params, states = etir.functionalise(nn.zero_states(lazy_layers()), XS[0])
    bptt = jax.grad(lambda p: jnp.sum(jax.lax.scan(lambda s, x: step(p, s, x), states, XS[:3])[1] ** 2))(params)
    assert_same(whole, bptt)
    assert set(stepped) == set(bptt)


def test_a_learner_of_one_sample_that_shaped_nothing_is_mapped():
    model, plain = lazy_layers(), lazy_layers()
    single, batched = etir.D_RTRL(model), etir.D_RTRL(plain)
    single.compile_graph(XS[0, 0])
    batched.compile_graph(XS[0])
    expected = gradients(batched, plain, XS)
    for _ in range(2):
        assert_same(gradients(etir.vmap(single), model, XS), expected)
        nn.zero_states(single)


def test_wrong_inputs_of_a_first_step_are_told():
    online = etir.D_RTRL(lazy_layers())
    online.compile_graph(XS[0])
    with pytest.raises(EtirError, match=r"does not take the 2 example values given \[step-arguments\]"):
        online(XS[0], XS[0])
