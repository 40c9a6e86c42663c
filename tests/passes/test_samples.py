"""Samples: where the step itself shows that the entries of a batch never meet."""

import pytest
from stages import lowered

import etir
from etir.passes.analyses.samples import Samples

BATCH = {"U": "f32[3,3]", "V": "f32[3,3]"}, {"h": "f32[4,3]"}, "f32[4,3]"


def apart(source: str, params=BATCH[0], states=BATCH[1], x=BATCH[2]) -> list[bool]:
    """The answer for each site of a step."""
    transition = etir.analyse(lowered(f"def step(p, s, x):\n{source}", params, states, x))
    samples = Samples(transition)
    return [samples.apart(site) for site in transition.sites]


@pytest.mark.parametrize(
    "source",
    [
        """
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x @ p["V"])
    return {"h": h}, h.mean()""",
        """
    h = jax.vmap(lambda h, x: jnp.tanh(etir.matmul(h, p["U"]) + x))(s["h"], x)
    return {"h": h}, h""",
        """
    u = etir.matmul(s["h"], p["U"])
    h = jax.nn.softmax(u.T, 0).T
    return {"h": h}, h""",
        """
    h = jax.lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ p["V"] + x), etir.matmul(s["h"], p["U"]))
    return {"h": h}, h""",
        """
    h = jnp.tanh(etir.matmul(s["h"] - jax.lax.stop_gradient(s["h"]).mean(0), p["U"]))
    return {"h": h}, h""",
    ],
    ids=["product", "vmap", "transposed and back", "loop", "stopped"],
)
def test_they_never_meet(source: str):
    assert apart(source) == [True]


@pytest.mark.parametrize(
    "source",
    [
        """
    u = etir.matmul(s["h"], p["U"])
    return {"h": u - u.mean(0)}, u""",
        """
    h = jnp.tanh(etir.matmul(jnp.roll(s["h"], 1, 0), p["U"]))
    return {"h": h}, h""",
        """
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x * s["h"].sum())
    return {"h": h}, h""",
        """
    h = jnp.tanh(etir.matmul(x, p["U"]) + jnp.flip(s["h"], 0))
    return {"h": h}, h""",
    ],
    ids=["centred", "rolled", "summed", "flipped"],
)
def test_they_meet(source: str):
    assert apart(source) == [False]


def test_one_site_mixes_its_samples_and_another_does_not():
    found = apart("""
    u, v = etir.matmul(x, p["U"]), etir.matmul(x, p["V"])
    return {"h": 0.5 * s["h"] + u + jnp.roll(v, 1, 0)}, u""")
    assert found == [True, False]


def test_a_square_batch_is_told_from_its_transpose():
    square = {"h": "f32[3,3]"}, "f32[3,3]"
    straight = """
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x)
    return {"h": h}, h"""
    crossed = """
    h = jnp.tanh(etir.matmul(s["h"].T, p["U"]) + x)
    return {"h": h}, h"""
    assert (apart(straight, BATCH[0], *square), apart(crossed, BATCH[0], *square)) == ([True], [False])


def test_states_without_the_axis_cannot_tell():
    source = """
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x)
    return {"h": h, "m": 0.9 * s["m"]}, h"""
    assert apart(source, BATCH[0], {"h": "f32[4,3]", "m": "f32[3]"}) == [False]


def test_the_first_axis_of_one_sample_is_its_units():
    dense = """
    h = jnp.tanh(etir.matmul(s["h"], p["U"]) + x)
    return {"h": h}, h"""
    by_unit = """
    h = 0.9 * s["h"] + etir.matmul(x, p["U"])
    return {"h": h}, h"""
    assert (apart(dense, BATCH[0], {"h": "f32[3]"}, "f32[3]"), apart(by_unit, BATCH[0], {"h": "f32[3]"}, "f32[3]")) == (
        [False], [True],
    )  # fmt: skip
