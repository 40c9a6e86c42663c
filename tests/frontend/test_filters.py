"""Filtering, splitting and merging."""

import jax.numpy as jnp
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenState, ParamState, ShortTermState, nn


@pytest.fixture
def model() -> nn.Module:
    model = nn.Module()
    model.w, model.h, model.buffer = ParamState(jnp.ones(2)), HiddenState(jnp.zeros(2)), ShortTermState(jnp.zeros(2))
    return model


def test_filter(model):
    assert list(nn.filter_states(model, ParamState, "b*")) == ["w", "buffer"]
    assert nn.filter_states(model) == {}


def test_split_gives_each_state_to_the_first_filter_that_matches(model):
    weights, hidden, rest = nn.split_states(model, ParamState, lambda s: s.name == "h", ...)
    assert (list(weights), list(hidden), list(rest)) == (["w"], ["h"], ["buffer"])


def test_merge_undoes_split(model):
    assert nn.merge_states(*nn.split_states(model, HiddenState, ...)).keys() == model.states().keys()
    groups = nn.split_states(model, HiddenState, ...)
    assert nn.merge_states(*groups, groups[0])["h"] is model.h


def test_split_leaves_nothing_out():
    assert message_of("""
        states = dict(w=ParamState(1.0), h=HiddenState(0.0), n=State(0))
        nn.split_states(states, ParamState)
    """) == expected("""
        model.py:2:1: error: no filter of split_states matches 'h', 'n' [split-rest]
          nn.split_states(states, ParamState)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: add `...` as the last filter to take the rest
    """)


def test_merge_refuses_two_states_of_one_path():
    assert message_of("""
        nn.merge_states(dict(w=ParamState(1.0)), dict(w=ParamState(1.0)))
    """) == expected("""
        model.py:1:1: error: two different states have the path 'w' [path-clash]
          nn.merge_states(dict(w=ParamState(1.0)), dict(w=ParamState(1.0)))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: rename one of them
    """)


def test_what_has_no_states():
    assert message_of("nn.filter_states([1], ParamState)") == expected("""
        model.py:1:1: error: filter_states takes a Module or a dict of states, and was given a list [not-a-module]
          nn.filter_states([1], ParamState)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    """)
