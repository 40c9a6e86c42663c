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
          trace %e_a -> %e_a_next : f32[1,1,4] "a on group 0" loc(model.py:2:9)
          trace %e_W -> %e_W_next : f32[1,1,4,3] "W on group 0" loc(model.py:2:47)
          step {
            %D0 : f32[1,1,4] = jacobian(group=#0)
            %f_y : f32[1,1,4] = sensitivity(association=%y1 -> #0) loc(model.py:2:9)
            %e_a_next : f32[1,1,4] = advance(association=%y1 -> #0, trace=%e_a, jacobian=%D0, sensitivity=%f_y, data=%h,
                                               expression=expression "a,a->a") loc(model.py:2:9)
            %f_y1 : f32[1,1,4] = sensitivity(association=%y2 -> #0) loc(model.py:2:47)
            %e_W_next : f32[1,1,4,3] = advance(association=%y2 -> #0, trace=%e_W, jacobian=%D0, sensitivity=%f_y1, data=%x,
                                               expression=expression "i,ij->j") loc(model.py:2:47)
          }
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %g_a : f32[4] = contract(association=%y1 -> #0, trace=[%e_a], cotangents=[%h_bar]) loc(model.py:2:9)
            %g_W : f32[3,4] = contract(association=%y2 -> #0, trace=[%e_W], cotangents=[%h_bar]) loc(model.py:2:47)
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(positional=[param %W, param %a], contributions=[%g_a, %g_W], reverse=[%W_bar, %a_bar])
          }
        }
    """)  # noqa: E501
