"""Saturation, dead units, spike rates: counted by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError
from etir.frontend.nn import fast_sigmoid_spike
from etir.instruments import dead_units, record, saturation, spike_rates

H = np.array([[[0.99, 0.2], [-0.97, 0.0]], [[1.0, -0.3], [0.1, 0.4]]])
"""Two steps of two samples of two units."""


def test_saturation_is_the_share_that_is_near_a_bound():
    found = saturation(H)
    np.testing.assert_allclose(found["h"], [0.75, 0])
    assert repr(found) == (
        "Saturation: |h| above 0.95\n"
        "of  saturated  mean |h|  max |h|  units mostly saturated\n"
        "h   37.5%      0.495     1        1"
    )
    np.testing.assert_allclose(saturation({"a": 2 * H}, bound=2.0)["a"], [0.75, 0])
    np.testing.assert_allclose(saturation(H, threshold=0.98)["h"], [0.5, 0])


def test_dead_units_are_those_that_never_vary():
    x = np.stack([H[..., 0], np.full((2, 2), 0.7), H[..., 1], np.zeros((2, 2))], axis=-1)
    found = dead_units({"h": x, "n": np.zeros(3, int)})
    np.testing.assert_allclose(found["h"], [x[..., k].std() for k in range(4)], atol=1e-15)
    assert repr(found) == ("Units that do not vary\nof  dead    median std  which\nh   2 of 4  0.129       1, 3")


def step(params, states, x):
    v = 0.5 * states["v"] + etir.matmul(x, params["W"])
    return {"v": v}, fast_sigmoid_spike(v - 1)


def test_rates_and_silent_neurons_of_a_recording():
    params = {"W": jnp.array([[2.0, 0.7, 0.0]])}
    learner = etir.compile(step, params, {"v": jnp.zeros(3)}, jnp.zeros(1))
    xs = jnp.tile(jnp.array([[1.0], [0.0]]), (10, 1))
    recorded = record(learner, xs, spikes=True, every=5)
    found = spike_rates(recorded)
    (name,) = recorded.spikes
    v, spikes = np.zeros(3), []
    for x in np.asarray(xs):
        v = 0.5 * v + x @ np.asarray(params["W"])
        spikes.append(v > 1)
    np.testing.assert_allclose(found[name], np.mean(spikes, axis=0))
    assert found[name][0] == 0.95
    np.testing.assert_allclose(spike_rates(recorded, dt=1e-3)[name], 1000 * np.mean(spikes, axis=0))
    assert repr(spike_rates(np.array(spikes))) == (
        "Spike rates, spikes a step\nof  mean   highest  silent  which\nh   0.317  0.95     2 of 3  1, 2"
    )
    assert repr(spike_rates(np.array(spikes), dt=0.01)).startswith("Spike rates, in Hz\nof  mean  highest")


def test_where_there_is_nothing_to_count():
    def smooth(params, states, x):
        h = 0.5 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]))
        return {"h": h}, h

    learner = etir.compile(smooth, {"W": jnp.ones((1, 2))}, {"h": jnp.zeros(2)}, jnp.zeros(1))
    with pytest.raises(EtirError) as refused:
        spike_rates(record(learner, jnp.ones((4, 1)), spikes=True))
    assert str(refused.value) == (
        "error: the recording has no spikes to count [no-spikes]\n"
        "  help: record(..., spikes=True) finds spike functions by their surrogate derivative, written with "
        "jax.custom_jvp or jax.custom_vjp; else give the array of spikes itself"
    )
    with pytest.raises(EtirError) as refused:
        saturation({"n": np.zeros(3, int)})
    assert str(refused.value) == (
        "error: nothing was recorded [recorded-name]\n  help: record at least one state of floating type: keep="
    )
    assert jax.tree.leaves(record(learner, jnp.ones((4, 1))).spikes) == []
