"""bptt: no trace."""

from snippets import expected
from stages import lowered, section

import etir

STEP = """
def step(p, s, x):
    h = etir.scale(s["h"], p["a"]) + jnp.tanh(etir.matmul(x, p["W"]))
    return {"h": h}, h
"""
TYPES = {"W": "f32[3,4]", "a": "f32[4]"}, {"h": "f32[4]"}, "f32[3]"


def test_the_program_in_text():
    planned = etir.plan(etir.analyse(lowered(STEP, *TYPES)), "bptt", window=4)
    assert section(planned, "certificate", "plan") == expected("""
        certificate bptt window=4 credit=full {
          "W" truncated "bptt carries no trace: credit ends where the window begins"
          "a" truncated "bptt carries no trace: credit ends where the window begins"
        }
        plan bptt window=4 credit=full {
          no trace for %W, %a
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(reverse=[%W_bar, %a_bar])
          }
        }
    """)
