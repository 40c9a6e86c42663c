"""canonicalise: calls inlined, dead equations gone, derivative rules kept."""

import numpy as np
import pytest
from stages import after, before, evaluated, lowered, operations

from etir.ir import jaxpr as jx
from etir.passes import Canonicalise, ingest

UPDATES = {
    "a call": ("jax.jit(lambda h: h + 1)(s['h'])", "jit", "add"),
    "a call in a call": ("jax.jit(jax.checkpoint(lambda h: jax.jit(jnp.sin)(h) + 1))(s['h'])", "jit", "sin add"),
    "a waste": ("[s['h'] + 1, jnp.exp(x)][0]", "add exp", "add"),
    "a waste within a call": ("jax.jit(lambda h: (h + 1, jnp.exp(h)))(s['h'])[0]", "jit", "add"),
    "a derivative rule": ("jax.jit(jax.nn.relu)(s['h'])", "jit", "custom_jvp_call"),
    "a loop": ("jax.lax.fori_loop(0, 2, lambda k, h: jax.jit(jnp.sin)(h), s['h'])", "scan", "scan"),
}


@pytest.mark.parametrize("name", UPDATES)
def test_what_is_entered_and_what_is_dropped(name: str):
    update, wanted_before, wanted_after = UPDATES[name]
    step = lowered(f"def step(p, s, x):\n    return {{'h': {update}}}, x", {}, {"h": "f32[4]"}, "f32[4]")
    regions = [of(Canonicalise, step).region("step") for of in (before, after)]
    assert [operations(region) for region in regions] == [wanted_before, wanted_after]
    values = {"h": np.linspace(-1, 1, 4, dtype="float32"), "x": np.ones(4, "float32")}
    one, other = (evaluated(region, values) for region in regions)
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", UPDATES)
def test_it_leaves_alone_what_it_made(name: str):
    update, *_ = UPDATES[name]
    step = lowered(f"def step(p, s, x):\n    return {{'h': {update}}}, x", {}, {"h": "f32[4]"}, "f32[4]")
    transition = after(Canonicalise, step)
    assert Canonicalise().run(transition) is transition


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("def step(p, s, x):\n    h = jax.jit(lambda h: h + 1)(s['h'])\n    return {'h': h}, x", "model.py:2:27"),
        ("def step(p, s, x):\n    h = 2 * jax.jit(jnp.sin)(s['h'])\n    return {'h': h}, x", "model.py:2:13"),
    ],
)
def test_an_operation_is_where_the_user_wrote_it(source: str, place: str):
    """In a function of the user's at its own line; in one of a library at the call."""
    (equation, *_) = jx.equations(
        after(Canonicalise, lowered(source, {}, {"h": "f32[4]"}, "f32[4]")).region("step").body
    )
    assert str(jx.location(equation)).startswith(place)


def test_an_effect_is_no_waste():
    source = """
    def step(p, s, x):
        jax.debug.print("{}", x)
        return {"h": s["h"] + 1}, x
    """
    assert "debug" in operations(after(Canonicalise, lowered(source, {}, {"h": "f32[4]"}, "f32[4]")).region("step"))


def test_a_canonical_step_is_the_object_that_was_given():
    transition = ingest(lowered("def step(p, s, x):\n    return {'h': s['h'] + x}, x", {}, {"h": "f32[4]"}, "f32[4]"))
    assert Canonicalise().run(transition) is transition
