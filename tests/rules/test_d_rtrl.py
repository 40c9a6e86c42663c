"""d_rtrl: one trace a weight, with the weight's axes."""

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
    planned = etir.plan(etir.analyse(lowered(STEP, *TYPES)), "d_rtrl", window=4)
    assert section(planned, "certificate", "plan") == expected("""
        certificate d_rtrl window=4 credit=full {
          "W" exact "every path from it to a hidden state is traced"
          "a" exact "every path from it to a hidden state is traced"
        }
        plan d_rtrl window=4 credit=full {
          trace %e_a -> %e_a_next : f32[4] "a on h" loc(model.py:2:9)
          trace %e_W -> %e_W_next : f32[3,4] "W on h" loc(model.py:2:47)
          step {
            %D_h_h : f32[4] = jacobian(group=#0, pairs=[[0,0]])
            %f_y_a : f32[4] = sensitivity(association=%y_a -> #0)
            %e_a_next : f32[4]
              = advance(trace=[%e_a],
                        by=diagonal(association=%y_a -> #0, pairs=[[0,0]], factors=[%D_h_h]),
                        add=outer(factors=[%f_y_a], data=%h))
            %f_y_W : f32[4] = sensitivity(association=%y_W -> #0)
            %e_W_next : f32[3,4]
              = advance(trace=[%e_W],
                        by=diagonal(association=%y_W -> #0, pairs=[[0,0]], factors=[%D_h_h]),
                        add=outer(factors=[%f_y_W], data=%x))
          }
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %g_a : f32[4] = contract(association=%y_a -> #0, trace=[%e_a], cotangents=[%h_bar])
            %g_W : f32[3,4] = contract(association=%y_W -> #0, trace=[%e_W], cotangents=[%h_bar])
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(reverse=[%W_bar, %a_bar], weights=weight [%a, %W], on_weights=[%g_a, %g_W], takers=param [%W, %a])
          }
        }
    """)  # noqa: E501
