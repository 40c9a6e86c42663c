"""associate-weights: the sites whose outputs reach a group's new states."""

import pytest
from snippets import expected
from stages import after, lowered, section

from etir.passes import AssociateWeights, ClassifyCoupling

PARAMS = {"W": "f32[3,4]", "V": "f32[4,4]", "R": "f32[4,2]"}
STATES = {"g": "f32[2]", "h": "f32[4]"}


def step_of(update: str):
    source = f"""
    def step(p, s, x):
        y = etir.matmul(x, p["W"])
        h = {update}
        g = s["g"] + jnp.ones(2, "float32")
        return {{"g": g, "h": h}}, etir.matmul(h, p["R"])
    """
    return lowered(source, PARAMS, STATES, "f32[3]")


@pytest.mark.parametrize(
    ("update", "text"),
    [
        ("0.5 * s['h'] + y", "associate %W at %y_W : none untraced"),
        ("0.5 * s['h'] + jax.lax.stop_gradient(y)", ""),
        ("0.5 * s['h'] + (y > 0)", ""),
        (
            "0.5 * s['h'] + etir.matmul(y, p['V'])",
            """
            associate %W at %y_W : none untraced
              through etir.matmul "mixes positions" loc(model.py:3:24)
            associate %V at %y_V : none untraced
            """,
        ),
        (
            "0.5 * s['h'] + y - jnp.tanh(y).mean()",
            """
            associate %W at %y_W : none untraced
              through reduce_sum "mixes positions" loc(model.py:3:28)
            """,
        ),
    ],
    ids=["at once", "without credit", "a comparison", "through a product", "beside a mean"],
)
def test_which_weights_reach_the_group(update: str, text: str):
    """Group 1 is `h`; nothing reaches `g`, and the readout's site reaches no state."""
    transition = after(AssociateWeights, step_of(update))
    assert section(transition, "associate", "through") == expected(text)
    assert {association.group.index for association in transition.associations} <= {1}


def test_one_site_of_two_groups():
    source = """
    def step(p, s, x):
        y = etir.matmul(x, p["W"])
        return {"g": s["g"] + y[:2], "h": s["h"] + y}, x
    """
    transition = after(AssociateWeights, lowered(source, {"W": "f32[3,4]"}, STATES, "f32[3]"))
    assert [association.group.index for association in transition.associations] == [0, 1]


@pytest.mark.parametrize("update", ["0.5 * s['h'] + y", "0.5 * s['h']", "0.5 * s['h'] + jnp.sort(y)"])
def test_it_leaves_alone_what_it_made(update: str):
    for kind in (AssociateWeights, ClassifyCoupling):
        transition = after(kind, step_of(update))
        assert kind().run(transition) is transition
