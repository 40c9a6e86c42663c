"""Every reading draws what it says, in a figure of its own or in axes that it is given; numbers need no matplotlib."""

import sys

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

from matplotlib import pyplot

import etir
from etir import EtirError
from etir.frontend.nn import fast_sigmoid_spike
from etir.instruments import (
    content_map,
    dead_units,
    diagnose,
    effective_memory,
    heatmap,
    position_map,
    quality,
    record,
    saturation,
    spike_rates,
)


def step(params, states, x):
    v = 0.8 * states["v"] + etir.matmul(x, params["W"])
    return {"v": v}, fast_sigmoid_spike(v - 1)


PARAMS = {"W": jax.random.normal(jax.random.key(0), (2, 3))}
XS = jax.random.normal(jax.random.key(1), (12, 2))


@pytest.fixture(scope="module")
def learner():
    return etir.compile(step, PARAMS, {"v": jnp.zeros(3)}, XS[0], window=2)


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    pyplot.close("all")


READINGS = {
    "recording": lambda l: record(l, XS, spikes=True),
    "saturation": lambda l: saturation(record(l, XS)),
    "dead units": lambda l: dead_units(record(l, XS)),
    "spike rates": lambda l: spike_rates(record(l, XS, spikes=True)),
    "position map": lambda l: position_map(l, steps=10),
    "content map": lambda l: content_map(l, [XS[:3], XS[3:6]], "ab"),
    "memory": lambda l: effective_memory(l, XS, trials=1),
    "quality": lambda l: quality(l, jnp.sum, XS),
    "diagnosis": lambda l: diagnose(l, jnp.sum, XS),
}


@pytest.mark.parametrize("name", READINGS)
def test_it_draws_and_shows_itself_in_a_notebook(name, learner):
    reading = READINGS[name](learner)
    axes = reading.plot()
    assert axes.get_title()
    assert axes.get_xlabel() or axes.get_ylabel()
    axes.figure.canvas.draw()
    given = pyplot.figure().subplots()
    assert reading.plot(given) is given
    page = reading._repr_html_()
    assert page.startswith(f"<div>{reading.table().title.split('|')[0][:8]}")
    assert page.count("<tr>") == len(reading.table().rows) + 1


def test_a_heatmap_has_units_as_rows_and_labels_under_its_steps():
    values = np.arange(24.0).reshape(4, 2, 3) - 5
    axes = heatmap(values, labels=["the", "cat", "sat", "down"], sample=1, title="h")
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), values[:, 1].T)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["the", "cat", "sat", "down"]
    assert image.get_clim() == (-18, 18)
    assert heatmap(values, sample=None).images[0].get_array().shape == (6, 4)
    assert heatmap(np.abs(values)).images[0].get_clim() == (0, 15)
    assert len(heatmap(np.zeros((200, 2)), labels=range(200)).get_xticks()) == 50


def test_a_recording_draws_the_series_that_is_asked_for(learner):
    found = record(learner, XS, spikes=True, every=3)
    axes = found.plot(name="v")
    np.testing.assert_allclose(axes.images[0].get_array(), found["v"].T)
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "6", "9", "12"]
    with pytest.raises(EtirError, match="recorded-name"):
        found.plot(name="w")


def test_without_matplotlib_there_are_numbers_and_a_plain_refusal(learner, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    found = record(learner, XS)
    assert "v" in repr(found)
    with pytest.raises(EtirError) as refused:
        found.plot()
    assert str(refused.value) == (
        "error: a picture was asked for, and matplotlib is not installed [plot-library]\n"
        "  help: pip install 'etir[plots]'; the numbers are there without it"
    )
