"""freeze-params: parameters that are constants, in text and in what later passes make of their uses."""

import pytest
from snippets import expected, message_of
from stages import lowered, section

import etir
from etir.ir import parse

STEP = """
def step(p, s, x):
    h = 0.9 * s["h"] + x @ p["W0"] + etir.matmul(x, p["A"]) @ p["B"] + etir.matmul(x, p["m"] * p["w"])
    return {"h": h}, h
"""
TYPES = {"A": "f32[3,2]", "B": "f32[2,4]", "W0": "f32[3,4]", "m": "f32[3,4]", "w": "f32[3,4]"}


def test_frozen_weights_are_no_sites_and_others_are_theirs_alone():
    transition = etir.analyse(
        lowered(STEP, TYPES, {"h": "f32[4]"}, "f32[3]"), ["w"], frozen=["W0", "A", "m"], reassociate=["*"]
    )
    assert section(transition, "param", "weight", "site") == expected(
        """
        param %A : f32[3,2] "A" frozen
        param %B : f32[2,4] "B"
        param %W0 : f32[3,4] "W0" frozen
        param %m : f32[3,4] "m" frozen
        param %w : f32[3,4] "w"
        weight %A, %B, %W0
        weight %m_p : f32[3,4] = prologue(%m, %w)
        site %y_m : f32[4] = etp.dot(%x, %m_p) "i,ij->j" equation 7 held loc(model.py:2:72)
        """
    )
    assert str(parse(str(transition))) == str(transition)


def test_with_nothing_frozen_the_transition_is_the_same():
    transition = etir.analyse(lowered(STEP, TYPES, {"h": "f32[4]"}, "f32[3]"), frozen=["A"])
    assert etir.passes.FreezeParams(params=("A",)).run(transition) is transition


def test_a_product_that_leads_through_a_frozen_weight_is_made_with_it():
    step = lowered(STEP, TYPES, {"h": "f32[4]"}, "f32[3]")
    sites = etir.analyse(step, "auto", frozen=["W0", "B", "m"], reassociate=["*"]).sites
    assert [site.weight.paths for site in sites] == [("A", "B"), ("m", "w")]


@pytest.mark.parametrize(
    ("glob", "help"),
    [("layers.W", "did you mean 'layer.W'?"), ("nothing", "known: layer.W, layer.b")],
)
def test_a_glob_without_a_parameter_is_refused(glob: str, help: str):
    source = f"""
    import etir
    params, states = {{"layer": {{"W": jnp.eye(3), "b": jnp.zeros(3)}}}}, {{"h": jnp.zeros(3)}}
    def step(params, states, x):
        return {{"h": states["h"] + x @ params["layer"]["W"] + params["layer"]["b"]}}, x
    etir.compile(step, params, states, jnp.ones(3), frozen=["{glob}"])
    """
    found = message_of(source)
    assert found == f"error: no parameter matches '{glob}', given as frozen= [frozen-path]\n  help: {help}"
