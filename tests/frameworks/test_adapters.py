"""Models of other libraries, handed over as they are: their outputs, their paths, and I1 to I3."""

from functools import cache

import jax
import numpy as np
import pytest
from framework_models import GUESTS, guest
from learners import differing, driver, false_labels, labels_of, zeros
from oracles import bptt

import etir
from etir.ir.step import leaf_paths

STEPS = 7


@cache
def sequence(name: str):
    """Inputs with a leading time axis, and targets like the outputs."""
    leaves, structure = jax.tree.flatten(guest(name).inputs)
    drawn = [_drawn(key, x) for key, x in zip(jax.random.split(jax.random.key(1), len(leaves)), leaves, strict=True)]
    xs = jax.tree.unflatten(structure, drawn)
    ys = jax.eval_shape(guest(name).own, *xs)
    return xs, jax.random.normal(jax.random.key(2), ys.shape, ys.dtype)


def _drawn(key, x):
    if x.dtype == bool:
        return jax.random.bernoulli(key, 0.3, (STEPS, *x.shape))
    return jax.random.normal(key, (STEPS, *x.shape), x.dtype)


def compiled(name: str, rule: str, window: int):
    of = guest(name)
    return etir.compile(*of.given, *of.inputs, rule=rule, window=window, on_truncated="ignore")


@pytest.mark.parametrize("name", GUESTS)
def test_the_outputs_are_the_librarys_own_and_the_paths_its_users(name: str):
    of, (xs, _) = guest(name), sequence(name)
    learner = compiled(name, "d_rtrl", 1)
    after, ys = learner.predict(xs=xs[0] if len(xs) == 1 else xs)
    np.testing.assert_allclose(ys, of.own(*xs), rtol=1e-12, atol=1e-12)
    assert [path for path, _ in leaf_paths(learner.params, "")] == sorted(of.paths)
    assert sorted(path for path, _ in leaf_paths(after, "")) == sorted(of.states)


@pytest.mark.parametrize("name", GUESTS)
@pytest.mark.parametrize(("rule", "window"), [("d_rtrl", 1), ("d_rtrl", 2), ("pp_prop", 3), ("rtrl", 2)])
def test_gradients_are_what_the_certificate_says(name: str, rule: str, window: int):
    of, (xs, ts) = guest(name), sequence(name)
    model = etir.functionalise(*of.given, *of.inputs)
    learner = compiled(name, rule, window)
    drive, given = driver(learner), xs[0] if len(xs) == 1 else xs
    exact = bptt(model.step, model.params, model.states, xs, ts)
    first = 1.0 * (np.arange(STEPS) < window)
    whole, alone = (
        named(drive(model.params, states, given, ts, weights)[0])
        for states, weights in ((model.states, np.ones(STEPS)), (exact.states, first))
    )
    own = bptt(model.step, model.params, exact.states, xs, ts, first)
    truncated = as_named(model, bptt(model.step, model.params, model.states, xs, ts, window=window))
    labels = labels_of(learner)
    assert differing(alone, as_named(model, own)) == {}
    assert false_labels(labels, whole, as_named(model, exact), truncated) == []
    assert zeros(labels, whole, as_named(model, exact), truncated) == []
    if rule == "rtrl":
        assert set(labels.values()) == {"exact"}


def named(tree) -> dict:
    return dict(leaf_paths(tree, "param"))


def as_named(model, outcome) -> dict:
    """The oracle's gradients under the paths that a certificate uses, leaf by leaf."""
    return dict(zip(named(model.params), outcome.grads.values(), strict=True))
