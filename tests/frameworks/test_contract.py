"""I1 to I3 and the labels of five libraries' unmodified GRU cells, their weights found by `sites="auto"`."""

from functools import cache

import jax
import numpy as np
import pytest
from gru_cells import CELLS, HIDDEN, INPUTS, RESET_AFTER
from learners import differing, driver, false_labels, labels_of, zeros
from oracles import bptt

import etir
from etir.ir.step import leaf_paths

STEPS = 11


@cache
def cell_of(name: str):
    return CELLS[name]()


@cache
def sequence():
    x, t = jax.random.split(jax.random.key(1))
    return (jax.random.normal(x, (STEPS, INPUTS), "float64"),), jax.random.normal(t, (STEPS, HIDDEN), "float64")


def compiled(name: str, rule: str, window: int, **options):
    cell, (xs, _) = cell_of(name), sequence()
    return etir.compile(
        cell.step, cell.params, cell.state, xs[0][0],
        rule=rule, window=window, sites="auto", on_truncated="ignore", **options,
    )  # fmt: skip


def named(tree) -> dict:
    return dict(leaf_paths(tree, "param"))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize(("rule", "window"), [("bptt", 2), ("d_rtrl", 1), ("d_rtrl", 2), ("pp_prop", 5), ("rtrl", 2)])
def test_gradients_are_what_the_certificate_says(name: str, rule: str, window: int):
    cell, (xs, ts) = cell_of(name), sequence()
    learner = compiled(name, rule, window)
    drive = driver(learner)
    warm = bptt(cell.step, cell.params, cell.state, xs, ts).states
    first = 1.0 * (np.arange(STEPS) < window)
    whole, alone = (
        named(drive(cell.params, states, xs[0], ts, weights)[0])
        for states, weights in ((cell.state, np.ones(STEPS)), (warm, first))
    )
    exact = as_named(cell, bptt(cell.step, cell.params, cell.state, xs, ts))
    own = as_named(cell, bptt(cell.step, cell.params, warm, xs, ts, first))
    truncated = as_named(cell, bptt(cell.step, cell.params, cell.state, xs, ts, window=window))
    labels = labels_of(learner)
    assert differing(alone, own) == {}
    assert false_labels(labels, whole, exact, truncated) == []
    assert zeros(labels, whole, exact, truncated) == []
    if rule == "rtrl":
        assert set(labels.values()) == {"exact"}


def as_named(cell, outcome) -> dict:
    """The oracle's gradients under the paths that a certificate uses, leaf by leaf."""
    return dict(zip(named(cell.params), outcome.grads.values(), strict=True))


@pytest.mark.parametrize("name", RESET_AFTER)
def test_every_weight_of_a_reset_after_cell_is_traced(name: str):
    assert labels_of(compiled(name, "d_rtrl", 1)) == dict.fromkeys(named(cell_of(name).params), "approximate")


@pytest.mark.parametrize(
    ("name", "resets", "others"),
    [
        ("haiku", ("gru.b", "gru.w_h", "gru.w_i"), ()),
        ("brainstate", ("Wrz.weight.bias", "Wrz.weight.weight"), ("Wh.weight.bias", "Wh.weight.weight")),
    ],
)
def test_the_reset_gates_of_a_reset_before_cell_are_labelled(name: str, resets: tuple, others: tuple):
    """Haiku keeps its three gates in one parameter each, so the whole parameter carries the reset gate's reason."""
    certificate = compiled(name, "d_rtrl", 1).certificate
    assert {entry.path for entry in certificate} == {*resets, *others}
    for path in resets:
        assert str(certificate[path].label) in ("approximate", "truncated")
        assert any("through" in str(reason) for reason in certificate[path].reasons), certificate[path].reasons
    for path in others:
        assert str(certificate[path].label) == "approximate"


@pytest.mark.parametrize("name", ["haiku", "brainstate"])
def test_exactness_can_be_bought_for_one_weight(name: str):
    cell, (xs, ts) = cell_of(name), sequence()
    glob = {"haiku": "gru.w_h", "brainstate": "Wrz.*"}[name]
    learner = compiled(name, "d_rtrl", 2, rules={glob: "rtrl"})
    grads = named(driver(learner)(cell.params, cell.state, xs[0], ts)[0])
    exact = as_named(cell, bptt(cell.step, cell.params, cell.state, xs, ts))
    bought = {path for path, label in labels_of(learner).items() if label == "exact"}
    assert bought == {path for path in exact if path.startswith(glob.rstrip("*"))}
    assert differing(grads, {path: exact[path] for path in bought}) == {}
