"""Rules are found by the names that braintrace gives them, however they are written."""

import jax.numpy as jnp
import pytest

import etir
from etir.rules import RULES
from etir.rules.names import BRAINTRACE, own_name


@pytest.mark.parametrize(
    ("given", "own"),
    [
        *BRAINTRACE.items(),
        ("es_d_rtrl", "pp_prop"),
        ("eprop", "e_prop"),
        ("ostl_recurrent", "d_rtrl"),
        ("Kf_RTRL", "kf_rtrl"),
        ("three_factor", "three_factor"),
    ],
)
def test_names(given: str, own: str):
    assert own_name(given, RULES) == own
    assert own in RULES


def test_an_unknown_name_stays_what_it_is():
    assert own_name("d_rtlr", RULES) == "d_rtlr"


def test_compile_takes_them():
    def step(params, h, x):
        h = 0.9 * h + etir.matmul(x, params["w"])
        return h, h

    learner = etir.compile(
        step,
        {"w": jnp.ones((2, 3)), "v": jnp.ones(1)},
        jnp.zeros(3),
        jnp.ones(2),
        rule="ES_D_RTRL",
        rules={"w": "D_RTRL"},
    )
    assert {entry.path: entry.rule for entry in learner.certificate} == {"w": "d_rtrl", "v": "pp_prop"}


@pytest.mark.parametrize("name", sorted(set(BRAINTRACE) - {"ESD_RTRL"}))
def test_each_is_a_class_too(name: str):
    """Its options are those of the rule that it is."""
    assert getattr(etir, name).rule_class.name == BRAINTRACE[name]
