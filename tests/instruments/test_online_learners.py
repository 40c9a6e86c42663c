"""Instruments over an `OnlineLearner`: its learner's, with the weights of now, and sequences begun as ever."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import etir
from etir import EtirError, nn
from etir.instruments import content_map, diagnose, effective_memory, position_map, quality, record

XS = jax.random.normal(jax.random.key(0), (9, 3))


def learner() -> etir.OnlineLearner:
    etir.random.seed(0)
    online = etir.D_RTRL(nn.LIB(3))
    online.compile_graph(XS[0])
    return online


def test_they_read_the_weights_of_now():
    online = learner()
    online(XS[0])
    weight = next(iter(online.states(etir.ParamState).values()))
    weight.value = weight.value + 0.5
    found, own = record(online, XS, traces=True), {"params": online.params}
    wanted = record(online.learner, XS, traces=True, **own)
    for name, values in wanted.series.items():
        np.testing.assert_array_equal(found[name], values)
    assert (found["V"] != record(online.learner, XS)["V"]).any()
    pairs = [
        (position_map(online, steps=4), position_map(online.learner, steps=4, **own)),
        (content_map(online, [XS, -XS]), content_map(online.learner, [XS, -XS], **own)),
        (diagnose(online, jnp.sum, XS), diagnose(online.learner, jnp.sum, XS, **own)),
        (effective_memory(online, XS, trials=1), effective_memory(online.learner, XS, trials=1, **own)),
        (quality([online], jnp.sum, XS), quality(online.learner, jnp.sum, XS, **own)),
    ]
    for of_online, of_learner in pairs:
        assert repr(of_online) == repr(of_learner)


def test_before_it_is_compiled_there_is_nothing_to_look_at():
    with pytest.raises(EtirError, match="has not been compiled for any input"):
        record(etir.D_RTRL(nn.LIB(3)), XS)
