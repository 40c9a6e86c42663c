"""pp_prop: two vectors where a trace would be a matrix, D-RTRL's trace elsewhere."""

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
    planned = etir.plan(etir.analyse(lowered(STEP, *TYPES)), "pp_prop", window=4)
    assert section(planned, "certificate", "plan") == expected("""
        certificate pp_prop window=4 credit=full {
          "W" approximate "its trace is kept as a product of two vectors" loc(model.py:2:47)
          "a" exact "every path from it to a hidden state is traced"
        }
        plan pp_prop window=4 credit=full {
          trace %e_a -> %e_a_next : f32[4] "a on h" loc(model.py:2:9)
          trace %X_W -> %X_W_next : f32[3] "data of W" loc(model.py:2:47)
          trace %F_W -> %F_W_next : f32[4] "W on h" loc(model.py:2:47)
          step {
            %D_h_h : f32[4] = jacobian(group=#0, pairs=[[0,0]])
            %f_y_a : f32[4] = sensitivity(association=%y_a -> #0)
            %e_a_next : f32[4]
              = advance(trace=[%e_a],
                        by=diagonal(association=%y_a -> #0, pairs=[[0,0]], factors=[%D_h_h]),
                        add=outer(factors=[%f_y_a], data=%h))
            %X_W_next : f32[3]
              = advance(trace=[%X_W], by=scalar(factor=0.9), add=plain(values=[%x])) loc(model.py:2:47)
            %f_y_W : f32[4] = sensitivity(association=%y_W -> #0)
            %D_h_h_scaled : f32[4] = scale(value=%D_h_h, factor=0.9)
            %f_y_W_scaled : f32[4] = scale(value=%f_y_W, factor=0.09999999999999998)
            %F_W_next : f32[4]
              = advance(trace=[%F_W],
                        by=diagonal(association=%y_W -> #0, pairs=[[0,0]], factors=[%D_h_h_scaled], at_output=true),
                        add=plain(values=[%f_y_W_scaled]))
          }
          window {
            %h_bar : f32[4],
            %W_bar : f32[3,4],
            %a_bar : f32[4]
              = vjp(region="forward")
            %g_a : f32[4] = contract(association=%y_a -> #0, trace=[%e_a], cotangents=[%h_bar])
            %y_W_bar : f32[4] = project(association=%y_W -> #0, factors=[%F_W], cotangents=[%h_bar])
            %g_W : f32[3,4] = product(site=site %y_W, data=%X_W, cotangent=%y_W_bar)
            %grad_W : f32[3,4],
            %grad_a : f32[4]
              = pullback(reverse=[%W_bar, %a_bar], weights=weight [%a, %W], on_weights=[%g_a, %g_W], takers=param [%W, %a])
          }
        }
    """)  # noqa: E501
