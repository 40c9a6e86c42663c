"""Labels never lie on models that nobody thought of."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from learners import differing, driver, false_labels, labels_of, zeros
from oracles import bptt, by_path
from random_models import INPUTS, OUTPUTS, Recipe, parameters, recipes

import etir
from etir.rules import SnAp

STEPS = 7


def faults(recipe: Recipe, rule: Any, window: int, sites: str) -> list[str]:
    params, states = parameters(jax.random.key(0)), recipe.states()
    xs = jax.random.normal(jax.random.key(1), (STEPS, INPUTS))
    ts = jax.random.normal(jax.random.key(2), (STEPS, OUTPUTS))
    learner = etir.compile(
        recipe.step, params, states, xs[0], rule=rule, window=window, sites=sites, on_truncated="ignore"
    )
    labels = labels_of(learner)
    found = by_path(driver(learner)(params, states, xs, ts)[0])
    exact = bptt(recipe.step, params, states, (xs,), ts).grads
    truncated = bptt(recipe.step, params, states, (xs,), ts, window=window).grads
    silent = [f"{path} is zero" for path in zeros(labels, found, exact, truncated)]
    wrong = [f"{path} is not exact under rtrl" for path in differing(found, exact)] if rule == "rtrl" else []
    return false_labels(labels, found, exact, truncated) + silent + wrong


@settings(max_examples=8)
@given(recipes, st.sampled_from(["explicit", "auto"]))
@example(Recipe(("reverse", "gather"), "leak", (), False, True), "explicit")
@example(Recipe(("gate_halves",), "gate", ("sort",), True, False), "auto")
def test_d_rtrl_never_lies(recipe: Recipe, sites: str):
    assert faults(recipe, "d_rtrl", 2, sites) == []


@settings(max_examples=6)
@given(recipes, st.sampled_from([1, 2, None]), st.sampled_from(["explicit", "auto"]))
@example(Recipe(("normalise",), "dense", (), True, False), 1, "explicit")
@example(Recipe(("dense", "sort"), "roll", ("dense",), False, True), None, "explicit")
def test_what_holds_nothing_never_lies(recipe: Recipe, n: int | None, sites: str):
    assert faults(recipe, SnAp(n=n), 2, sites) == []


@pytest.mark.slow
@settings(max_examples=150)
@given(recipes, st.sampled_from(["d_rtrl", "pp_prop", "rtrl", SnAp(n=1), SnAp(n=2), SnAp()]),
       st.sampled_from([1, 2, 3]), st.sampled_from(["explicit", "auto"]))  # fmt: skip
def test_no_rule_ever_lies(recipe: Recipe, rule: Any, window: int, sites: str):
    assert faults(recipe, rule, window, sites) == []


@settings(max_examples=25)
@given(recipes)
def test_every_recipe_is_a_model(recipe: Recipe):
    states = recipe.states((3,))
    after, y = jax.eval_shape(recipe.step, parameters(jax.random.key(0)), states, jnp.zeros((3, INPUTS)))
    assert {name: leaf.shape for name, leaf in after.items()} == {name: leaf.shape for name, leaf in states.items()}
    assert y.shape == (3, OUTPUTS)
