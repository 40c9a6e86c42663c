"""ingest: a lowered step as a transition of which nothing is known yet."""

from snippets import expected
from stages import lowered, section

from etir.passes import ingest


def test_leaves_become_values_and_the_step_a_region():
    source = """
    def step(p, s, x, flag):
        h = jnp.where(flag, s["cell"]["h"], x @ p["cell"]["W"])
        return {"cell": {"h": h}, "n": s["n"] + 1, "line": s["line"]}, (h, {"twice": [h, x[0]]})
    """
    states = {"cell": {"h": "f32[4]"}, "n": "i32[]", "line": "f32[2]"}
    step = lowered(source, {"cell": {"W": "f32[3,4]"}}, states, "f32[3]", "bool[]", buffers=("line",))
    transition = ingest(step)
    assert section(transition, "transition") == expected("""
        transition @step loc(model.py:1) {
        param %W : f32[3,4] "cell.W"
        state %h -> %h1 : f32[4] unknown "cell.h"
        state %line -> %line1 : f32[2] buffer "line"
        state %n -> %n1 : i32[] unknown "n"
        input %v : f32[3] "0"
        input %v1 : bool[] "1"
        output %v2 : f32[4] "0"
        output %twice : f32[4] "1.twice.0"
        output %twice1 : f32[] "1.twice.1"

        region @step(%W, %h, %line, %n, %v, %v1) -> (%h1, %line1, %n1, %v2, %twice, %twice1)
        }
    """)
    assert len({id(value) for value in transition.region("step").outputs}) == 6


def test_the_digest_is_the_bodys():
    source = "def step(p, s, x):\n    return {{'h': s['h'] {} x}}, x"
    regions = [
        ingest(lowered(source.format(sign), {}, {"h": "f32[4]"}, "f32[4]")).region("step") for sign in ("+", "+", "-")
    ]
    assert regions[0].digest == regions[1].digest != regions[2].digest
