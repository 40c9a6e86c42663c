"""Loops that pick one entry of an array in each trip by a counter: they are loops over these entries."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from oracles import bptt, loss, relative_error

import etir
from etir.ir import jaxpr as jx
from etir.passes.hoisting import by_entries

COUNT, UNITS, BATCH, STEPS = 3, 4, 2, 6
DRAW = np.random.default_rng(0)
PARAMS = {"W": 0.5 * DRAW.normal(size=(COUNT, UNITS, UNITS))}
STATES = {"h": jnp.full((COUNT, BATCH, UNITS), 0.1)}
XS, TS = DRAW.normal(size=(2, STEPS, BATCH, UNITS))


def new(h: Any, i: Any, params: Any, x: Any) -> Any:
    """The states of one bank, which has a leak of its own."""
    return (0.9 - 0.1 * i) * h + jnp.tanh(etir.matmul(x, params["W"][i]))


def counted(params: Any, states: Any, x: Any) -> Any:
    h = lax.fori_loop(0, COUNT, lambda i, h: h.at[i].set(new(h[i], i, params, x)), states["h"])
    return {"h": h}, h.sum(0)


def down_the_second_axis(params: Any, states: Any, x: Any) -> Any:
    """The first bank, which no trip picks, fades."""

    def trip(k: Any, h: Any) -> Any:
        i = COUNT - 1 - k
        own = lax.dynamic_index_in_dim(h, i, 1, keepdims=False)
        return lax.dynamic_update_index_in_dim(h, new(own, i, params, x), i, 1)

    h = lax.fori_loop(0, COUNT - 1, trip, 0.5 * states["h"].swapaxes(0, 1)).swapaxes(0, 1)
    return {"h": h}, h.sum(0)


def scanned_backwards(params: Any, states: Any, x: Any) -> Any:
    def trip(h: Any, i: Any) -> Any:
        return h.at[i].set(new(h[i], i, params, x)), (i + 1) * h[i]

    h, shown = lax.scan(trip, states["h"], jnp.arange(COUNT), reverse=True)
    return {"h": h}, h.sum(0) + (jnp.arange(COUNT)[:, None, None] * shown).sum(0)


def inside_another(params: Any, states: Any, x: Any) -> Any:
    h = lax.fori_loop(0, 2, lambda _, h: counted(params, {"h": 0.9 * h}, x)[0]["h"], states["h"])
    return {"h": h}, h.sum(0)


def by_others_that_fall_and_begin_again(params: Any, states: Any, x: Any) -> Any:
    """Of three counters one picks the weight from behind, and one is beyond its type's largest number at once."""

    def trip(now: Any, _: None) -> Any:
        i, j, k, h = now
        own = (0.9 - k.astype(float) / 512) * h[i] + jnp.tanh(etir.matmul(x, params["W"][j]))
        return (i + 1, j - 1, k + jnp.int8(1), h.at[i].set(own)), None

    h = lax.scan(trip, (0, COUNT - 1, jnp.int8(126), states["h"]), None, length=COUNT)[0][3]
    return {"h": h}, h.sum(0)


def added(params: Any, states: Any, x: Any) -> Any:
    """An entry fades, takes a sum, is read, and takes another one; none is picked to be replaced."""

    def trip(i: Any, h: Any) -> Any:
        h = h.at[i].multiply(0.9).at[i].add(jnp.tanh(etir.matmul(x, params["W"][i])))
        return h.at[i].add(0.1 * jnp.sin(h[i]))

    h = lax.fori_loop(0, COUNT, trip, states["h"])
    return {"h": h}, h.sum(0)


def written_over(params: Any, states: Any, x: Any) -> Any:
    """What was there is read by nothing in the loop."""
    h = lax.fori_loop(0, COUNT, lambda i, h: h.at[i].set(jnp.tanh(etir.matmul(x, params["W"][0]) + i)), 0 * states["h"])
    return {"h": 0.9 * states["h"] + h}, h.sum(0)


@pytest.mark.parametrize(
    "step",
    [
        counted,
        down_the_second_axis,
        scanned_backwards,
        inside_another,
        by_others_that_fall_and_begin_again,
        added,
        written_over,
    ],
)
def test_each_entry_is_followed_by_itself(step: Any):
    learner: Any = etir.compile(step, PARAMS, STATES, XS[0], rule="d_rtrl", window=2)
    assert str(learner.certificate["W"].label) == "exact"
    found = learner.grad(loss, reduction="sum")(PARAMS, learner.init(), XS, TS).grads["W"]
    assert relative_error(found, bptt(step, PARAMS, STATES, (XS,), TS).grads["W"]) < 1e-10


def neighbours(params: Any, states: Any, x: Any) -> Any:
    """An entry that was replaced is read by the next trip."""
    h = lax.fori_loop(0, COUNT, lambda i, h: h.at[i].set(new(h[i] + 0.1 * h[i - 1], i, params, x)), states["h"])
    return {"h": h}, h.sum(0)


def twice(params: Any, states: Any, x: Any) -> Any:
    """Another entry than the one that is replaced takes a sum."""
    h = lax.fori_loop(0, COUNT, lambda i, h: h.at[i].set(new(h[i], i, params, x)).at[2 - i].add(0.5), states["h"])
    return {"h": h}, h.sum(0)


def again(params: Any, states: Any, x: Any) -> Any:
    h = lax.fori_loop(0, 2 * COUNT, lambda i, h: h.at[i // 2].set(new(h[i // 2], i // 2, params, x)), states["h"])
    return {"h": h}, h.sum(0)


@pytest.mark.parametrize("step", [neighbours, twice, again])
def test_what_meets_other_entries_or_the_same_one_again_stays_an_array(step: Any):
    body = by_entries(etir.lower(step, PARAMS, STATES, XS[0]).jaxpr)
    (loop,) = (eqn for eqn in jx.equations(body) if eqn.primitive.name == "scan")
    assert (COUNT, BATCH, UNITS) in map(jx.shape_of, jx.outvars(loop.params["jaxpr"]))


def test_layers_are_what_a_scan_over_them_is():
    def by_counter(params: Any, states: Any, x: Any) -> Any:
        def trip(i: Any, carry: Any) -> Any:
            h, below = carry
            above = new(h[i], i, params, below)
            return h.at[i].set(above), above

        h, top = lax.fori_loop(0, COUNT, trip, (states["h"], x))
        return {"h": h}, top

    def by_scan(params: Any, states: Any, x: Any) -> Any:
        def trip(below: Any, layer: Any) -> Any:
            h, W, i = layer
            above = (0.9 - 0.1 * i) * h + jnp.tanh(etir.matmul(below, W))
            return above, above

        top, h = lax.scan(trip, x, (states["h"], params["W"], jnp.arange(COUNT)))
        return {"h": h}, top

    found, wanted = (
        etir.plan(etir.analyse(etir.lower(step, PARAMS, STATES, XS[0])), "d_rtrl").certificate
        for step in (by_counter, by_scan)
    )
    assert found is not None
    assert wanted is not None
    assert str(found["W"].label) == str(wanted["W"].label) == "approximate"
    assert [r.text for r in found["W"].reasons] == [r.text for r in wanted["W"].reasons]
