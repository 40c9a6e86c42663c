"""Every instrument over a cell of another library, as it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from peer_models import PEERS

import etir
from etir.instruments import activity, diagnose, effective_memory, quality, record, regularised, with_states

CELL = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
XS = jax.random.normal(jax.random.key(1), (20, 3))


@pytest.fixture(scope="module")
def learner():
    return etir.compile(CELL, XS[0], window=2, on_truncated="ignore")


def by_hand():
    h, found = jnp.zeros(4), []
    for x in XS:
        h = CELL(x, h)
        found.append(h)
    return np.stack(found)


def loss(h):
    return jnp.sum(h**2)


def test_it_is_recorded_diagnosed_and_compared(learner):
    recorded = record(learner, XS, traces=True)
    (path,) = recorded.states
    np.testing.assert_allclose(recorded[path], by_hand(), atol=1e-6)
    assert diagnose(learner, loss, XS)
    reach = effective_memory(learner, XS, trials=1)
    assert {"gradient to inputs", "gradient to states", f"trace of weight_ih on {path}"} <= set(reach.curves)
    close = quality(learner, loss, XS)["d_rtrl, window 2"]
    assert all(0.5 < each.cosine <= 1 for each in close.values())


def test_its_states_can_be_penalised():
    shown = etir.compile(with_states(CELL, XS[0]), XS[0], window=2, on_truncated="ignore")
    result = shown.grad(regularised(lambda y: 0.0 * jnp.sum(y), activity(4.0)))(shown.params, shown.init(), XS)
    np.testing.assert_allclose(result.losses, (by_hand() ** 2).sum(1), rtol=1e-5)


@pytest.mark.second_leg  # which has brainpy
def test_spikes_of_brainpy_are_seen():
    model = PEERS["brainpy.LIF"]()
    learner = etir.compile(*model.given, *model.inputs)
    found = record(learner, XS[:, None] * jnp.ones((3, 1)), spikes=True)
    before, after = found.spikes.values()  # LIF asks for the spikes of the last step, and for its own
    np.testing.assert_array_equal(after[:-1], before[1:])
    assert 0.1 < after.mean() < 0.9
    slope = np.maximum(0.3 - 0.3 * np.abs((found["neurons.V"] - 0.3) / 0.3), 0)  # of ReluGrad, at threshold 0.3
    np.testing.assert_allclose(list(found.surrogates.values())[1], slope, atol=1e-12)
