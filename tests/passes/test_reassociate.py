"""reassociate: parameters meet parameters before they meet data, in products that lead to a state."""

import numpy as np
import pytest
from stages import evaluated, lowered

from etir.ir import jaxpr as jx
from etir.passes import ANALYSIS, Canonicalise, DiscoverStates, MarkSites, PassManager, Reassociate, ingest

SHAPES = {"A": (3, 2), "B": (2, 4), "V": (3, 6), "W": (3, 4), "mu": (3,), "h": (5, 4), "x": (5, 3), "input": (5, 3)}
PARAMS = {"mu": "f32[3]", "A": "f32[3,2]", "B": "f32[2,4]", "W": "f32[3,4]", "V": "f32[3,6]"}
UPDATES = {
    "a vector": ("(x * p['mu']) @ p['W']", ["W+mu"]),
    "a mix": ("(x + (s['x'] - x) * p['mu']) @ p['W']", ["W", "W+mu"]),
    "a chain": ("(x @ p['A']) @ p['B']", ["A+B"]),
    "a part of a product": ("jnp.split(x @ p['V'], [2], -1)[0] @ p['B']", ["B+V"]),
    "what is no product of both": ("jnp.tanh(x * p['mu']) @ p['W']", ["mu", "W"]),
    "a repeated vector": ("((x * p['mu'][None])[:, 1:]) @ p['W'][1:]", ["W+mu"]),
    "a chain in a loop": (
        "jax.lax.scan(lambda h, k: (0.5 * h + (k * x @ p['A']) @ p['B'], None), s['h'], jnp.ones(3, 'float32'))[0]",
        ["A+B"],
    ),
    "a chain in branches": (
        "jax.lax.cond(x[0, 0] > 0, lambda x: (x @ p['A']) @ p['B'], lambda x: ((3 * x) @ p['A']) @ p['B'], x)",
        ["A+B", "A+B"],
    ),
    "a scalar": ("(x[0] @ p['mu'] * 0.5) * jnp.ones((5, 4), 'float32')", ["mu"]),
    "data alone": ("(2 * x) @ p['W']", ["W"]),
}


def transition_of(update, output="x"):
    source = f"def step(p, s, x):\n    return {{'h': s['h'] + {update}, 'x': x}}, {output}"
    return ingest(lowered(source, PARAMS, {"h": "f32[5,4]", "x": "f32[5,3]"}, "f32[5,3]"))


def run(transition, *passes):
    return PassManager((Canonicalise(), DiscoverStates(), *passes)).run(transition)


@pytest.mark.parametrize("name", UPDATES)
def test_which_weights_a_product_has_then(name: str):
    update, wanted = UPDATES[name]
    marked = run(transition_of(update), Reassociate(params=("*",)), MarkSites(sites="auto"))
    assert ["+".join(site.weight.paths) for site in marked.sites] == wanted


@pytest.mark.parametrize("name", UPDATES)
def test_the_step_is_the_same(name: str):
    values = {path: np.random.default_rng(0).normal(size=shape).astype("float32") for path, shape in SHAPES.items()}
    before, after = (run(transition_of(UPDATES[name][0]), *p) for p in ((), (Reassociate(params=("*",)),)))
    one, other = (evaluated(t.region("step"), values) for t in (before, after))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_it_is_asked_for_and_only_where_a_state_is_reached():
    chain = transition_of("x @ p['W']", output="(x @ p['A']) @ p['B']")
    canonical = run(chain)
    assert Reassociate().run(canonical) is canonical
    assert Reassociate(params=("*",)).run(canonical) is canonical
    assert Reassociate in ANALYSIS


def test_parameters_that_are_not_named_stay_where_they_are():
    canonical = run(transition_of("(x * p['mu']) @ p['W']"))
    assert Reassociate(params=("W",)).run(canonical) is canonical


def test_what_nothing_needs_any_more_is_gone():
    new = run(transition_of("(x @ p['A']) @ p['B']"), Reassociate(params=("*",)))
    products = [e for e in jx.equations(new.region("step").body) if e.primitive.name == "dot_general"]
    assert [jx.shape_of(e.outvars[0]) for e in products] == [(3, 4), (5, 4)]
