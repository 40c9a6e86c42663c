"""The restricted region: the forward step's numbers, with the credit of the rules' per-step form."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stages import evaluated, lowered

import etir

STEP = """
def both(h):
    return h * h.sum(), jnp.sin(h)

two = jax.custom_jvp(both)
two.defjvp(lambda at, by: jax.jvp(both, at, by))

def step(p, s, x):
    h = p["a"] * s["h"] + jnp.tanh(etir.matmul(x, p["W"]) + MIX)
    return {"h": h}, h.sum()
"""
TYPES = {"U": "f64[4,4]", "W": "f64[3,4]", "a": "f64[4]"}, {"h": "f64[4]"}, "f64[3]"
MIXES = {
    "a product": ("s['h'] @ p['U']", "jax.lax.stop_gradient(s['h']) @ p['U']"),
    "a site": ("etir.matmul(s['h'], p['U'])", "etir.matmul(jax.lax.stop_gradient(s['h']), p['U'])"),
    "a sum": ("s['h'].sum()", "s['h'] + jax.lax.stop_gradient(s['h'].sum() - s['h'])"),
    "a sum in a branch": (
        "jax.lax.cond(x[0] < 9, lambda h: h.sum() + h, jnp.sin, s['h'])",
        "2 * s['h'] + jax.lax.stop_gradient(s['h'].sum() - s['h'])",
    ),
    "one of two results": ("sum(two(s['h']))", "jax.lax.stop_gradient(two(s['h'])[0]) + two(s['h'])[1]"),
}


def planned(mix: str) -> Any:
    return etir.plan(etir.analyse(lowered(STEP.replace("MIX", mix), *TYPES)), credit="rule")


@pytest.mark.parametrize("name", MIXES)
def test_the_same_numbers_and_the_credit_that_is_kept(name: str):
    """The Jacobian of the new state by the old one is that of the step whose mixing operations see a constant.

    Of a sum that every position reads, each keeps what it adds itself: the diagonal of the whole Jacobian.
    """
    whole, cut = (planned(mix) for mix in MIXES[name])
    arguments = {
        value: 0.5 * jax.random.normal(jax.random.key(k), value.type.shape) * (not value.hint.startswith("d"))
        for k, value in enumerate(whole.region("forward").inputs)
    }
    old = whole.hidden[0].before
    one, other = (evaluated(whole.region(region), arguments) for region in ("forward", "restricted"))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    kept, all_of_it = (by_old_state(whole, region, arguments, old) for region in ("restricted", "forward"))
    renamed = dict(zip(cut.region("forward").inputs, arguments.values(), strict=True))
    wanted = by_old_state(cut, "forward", renamed, cut.hidden[0].before)
    assert np.allclose(kept, wanted)
    assert not np.allclose(kept, all_of_it)


def by_old_state(transition: Any, region: str, arguments: dict[Any, Any], old: Any) -> Any:
    return jax.jacobian(lambda h: evaluated(transition.region(region), arguments | {old: h})[0])(
        jnp.asarray(arguments[old])
    )


def test_the_signature_is_that_of_the_forward_region():
    transition = planned(MIXES["a product"][0])
    forward, restricted = transition.region("forward"), transition.region("restricted")
    assert (restricted.inputs, restricted.outputs) == (forward.inputs, forward.outputs)
