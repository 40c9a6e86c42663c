"""rtrl: an influence matrix a parameter, advanced once a window."""

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
    planned = etir.plan(etir.analyse(lowered(STEP, *TYPES)), "rtrl", window=4)
    assert section(planned, "certificate", "plan") == expected("""
        certificate rtrl window=4 credit=full {
          "W" exact "its influence on every hidden state is carried"
          "a" exact "its influence on every hidden state is carried"
        }
        plan rtrl window=4 credit=full {
          trace %e_W -> %e_W_next : f32[4,12] "W on every hidden state"
          trace %e_a -> %e_a_next : f32[4,4] "a on every hidden state"
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %e_W_next : f32[4,12] = advance_full(param=param %W, trace=%e_W)
            %g_W : f32[3,4] = contract_full(param=param %W, trace=%e_W, cotangents=[%h_bar])
            %e_a_next : f32[4,4] = advance_full(param=param %a, trace=%e_a)
            %g_a : f32[4] = contract_full(param=param %a, trace=%e_a, cotangents=[%h_bar])
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(reverse=[%W_bar, %a_bar], params=param [%W, %a], on_params=[%g_W, %g_a])
          }
        }
    """)
