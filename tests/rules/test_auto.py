"""auto: which rule each weight gets within a budget, why it says so, and that the rest follows as for any rules."""

import jax
import jax.numpy as jnp
import pytest
from oracles import loss, relative_error

import etir
from etir import rules
from etir.passes import choose_rules
from etir.rules import Auto

UNITS, INPUTS = 6, 3


def step(params, states, x):
    """A layer that recurs densely, under one that recurs element by element, under a readout."""
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    v = jax.nn.sigmoid(params["leak"]) * states["v"] + x @ params["V"]
    return {"h": h, "v": v}, h @ params["readout"] + v


KEYS = jax.random.split(jax.random.key(0), 6)
SHAPES = {"W": (INPUTS, UNITS), "U": (UNITS, UNITS), "leak": (UNITS,), "V": (INPUTS, UNITS), "readout": (UNITS, UNITS)}
PARAMS = {path: 0.3 * jax.random.normal(key, shape) for key, (path, shape) in zip(KEYS, SHAPES.items(), strict=False)}
STATES = {"h": jnp.zeros(UNITS), "v": jnp.zeros(UNITS)}
XS, TS = jax.random.normal(KEYS[5], (9, INPUTS)), jnp.ones((9, UNITS))


def compiled(**options):
    return etir.compile(step, PARAMS, STATES, XS[0], window=3, on_truncated="ignore", **options)


def chosen(learner):
    return {label.path: (str(label.label), label.rule) for label in learner.certificate}


EXACT = {
    "U": ("exact", "rtrl"),
    "V": ("exact", "d_rtrl"),
    "W": ("exact", "rtrl"),
    "leak": ("exact", "pp_prop"),
    "readout": ("exact", "bptt"),
}
CHEAPER = EXACT | {"U": ("approximate", "d_rtrl")}
LEAST = dict.fromkeys(EXACT, ("truncated", "bptt")) | {"readout": ("exact", "bptt")}


@pytest.mark.parametrize(
    ("memory", "wanted"),
    [(None, EXACT), (2784, EXACT), (2783, CHEAPER), (0, LEAST)],
)
def test_each_weight_has_the_most_exact_rule_that_fits(memory, wanted):
    learner = compiled(rule="auto", memory=memory)
    assert chosen(learner) == wanted
    assert learner.cost().held <= (memory if memory is not None else 1e9)


def test_a_choice_says_why():
    certificate = compiled(rule="auto", memory=2783).certificate
    assert {label.path: label.because for label in certificate} == {
        "U": "d_rtrl holds 288 B; rtrl would hold 1.73 kB, more than is left of 2.78 kB",
        "V": "d_rtrl holds 144 B, and is exact",
        "W": "rtrl holds 864 B, and is exact",
        "leak": "pp_prop holds 48 B, and is exact",
        "readout": "bptt holds nothing, and is exact",
    }


def test_the_learner_is_the_one_of_these_rules():
    auto, named = compiled(rule="auto"), compiled(rule="rtrl", rules={"V": "d_rtrl", "leak": "pp_prop"}, sites="auto")
    found, wanted = (each.grad(loss)(PARAMS, each.init(), XS, TS).grads for each in (auto, named))
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < 1e-12
    assert str(auto.transition.plan.rule) == "auto"


def test_one_plan_is_written_a_candidate(monkeypatch):
    tried = []
    of = choose_rules._Planned.of
    monkeypatch.setattr(
        choose_rules._Planned, "of", lambda self, rule, params: (tried.append(rule.name), of(self, rule, params))[1]
    )
    compiled(rule="auto")
    assert tried == ["bptt", "pp_prop", "d_rtrl", "cascade", "rtrl"]


def test_candidates_are_an_option():
    learner = compiled(rule=Auto(candidates=(rules.Bptt(), rules.Rtrl())))
    assert {rule for _, rule in chosen(learner).values()} == {"bptt", "rtrl"}


def test_parameters_that_make_one_weight_choose_together():
    def masked(params, states, x):
        leaks = jnp.linspace(0.8, 0.95, states["h"].shape[-1])
        h = leaks * states["h"] + etir.matmul(x, params["mask"] * params["W"]) + params["b"]
        return {"h": h}, h

    params = {"W": PARAMS["W"], "mask": PARAMS["V"], "b": PARAMS["leak"]}
    learner = etir.compile(masked, params, {"h": STATES["h"]}, XS[0], rule="auto", memory=100, on_truncated="ignore")
    assert {path: rule for path, (_, rule) in chosen(learner).items()} == {"W": "bptt", "b": "pp_prop", "mask": "bptt"}


def test_the_per_step_form_is_chosen_among_rules_that_have_one():
    learner = compiled(rule="auto", credit="rule", memory=10_000)
    assert {rule for _, rule in chosen(learner).values()} <= {"d_rtrl", "pp_prop"}
