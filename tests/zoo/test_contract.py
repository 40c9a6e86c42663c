"""I1, I2, I3 over the whole zoo: a window alone is BPTT, labels never lie, nothing is silently zero."""

import numpy as np
import pytest
from learners import (
    VARIANTS,
    WINDOWS,
    cells_first,
    compiled,
    contract_faults,
    differing,
    false_labels,
    labels_of,
    matrix,
    run,
    zeros,
)
from problems import bptt_gradients, problem, truncated_gradients

from etir import zoo

NAMES = [case.name for case in zoo.ALL]


@matrix()
def test_gradients_are_what_the_certificate_says(name: str, rule: str, window: int):
    assert contract_faults(name, rule, window) == []


@pytest.mark.parametrize("name", cells_first(NAMES, but_for=VARIANTS))
@pytest.mark.each
def test_d_rtrl_gives_the_labels_that_reasoning_gives(name: str):
    labels = labels_of(compiled(problem(name), "d_rtrl", 1))
    wrong = {
        path: (labels[path], wanted)
        for path, wanted in zoo.case(name).labels.items()
        if labels[path] not in wanted.split("|")
    }
    assert wrong == {}


@pytest.mark.parametrize("name", cells_first(NAMES, but_for=VARIANTS))
def test_rtrl_is_exact_on_everything(name: str):
    labels = labels_of(compiled(problem(name), "rtrl", 1))
    inexact = {path for path, label in labels.items() if label != "exact"}
    assert inexact == ({"W", "b"} if zoo.case(name).buffers else set())


@pytest.mark.parametrize("name", ["rnn_leaky", "gru_reset_before", "lru", "lif_current"])
@pytest.mark.parametrize("window", WINDOWS)
def test_bptt_rule_is_truncated_back_propagation(name: str, window: int):
    found = run(name, "bptt", window)
    assert differing(found.whole, truncated_gradients(name, window)) == {}
    assert set(found.labels.values()) == {"exact", "truncated"}


@pytest.mark.parametrize(
    ("name", "path", "label"),
    [
        ("rnn_leaky", "W", "approximate"),
        ("lif_recurrent", "W", "approximate"),
        ("layer_norm_leaky", "W", "approximate"),
        ("two_layer_leaky", "layers.0.W", "approximate"),
        ("gru_reset_before", "Wr", "truncated"),
        ("tail_sort", "W", "truncated"),
        ("tail_cumsum", "W", "truncated"),
        ("rnn_plain_recurrence", "U", "truncated"),
    ],
)
def test_an_inexact_label_is_no_false_modesty(name: str, path: str, label: str):
    found = run(name, "d_rtrl", 1)
    assert found.labels[path] == label
    assert path in differing(found.whole, bptt_gradients(name), tolerance=1e-4)


def test_the_comparison_sees_what_it_is_for():
    """The checks themselves, on made-up gradients: each fault is found."""
    one, two, none = {"w": np.ones(2)}, {"w": 2 * np.ones(2)}, {"w": np.zeros(2)}
    assert false_labels({"w": "exact"}, one, one, two) == []
    assert false_labels({"w": "exact"}, two, one, two) == ["w is labelled exact and differs by 1"]
    assert false_labels({"w": "truncated"}, one, one, two) == ["w is labelled truncated and differs by 0.5"]
    assert false_labels({"w": "approximate"}, two, one, one) == []
    assert false_labels({}, one, one, one) == ["parameter w has no label"]
    assert false_labels({"w": "exact"}, {"w": np.full(2, np.nan)}, one, one) != []
    assert zeros({"w": "approximate"}, none, one, none) == ["w"]
    assert zeros({"w": "truncated"}, none, one, none) == []
    assert zeros({"w": "truncated"}, none, one, one) == ["w"]
