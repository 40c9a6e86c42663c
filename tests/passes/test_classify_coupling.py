"""classify-coupling: how groups depend on themselves and on their sites."""

import pytest
from snippets import expected
from stages import after, lowered, section

from etir.passes import ClassifyCoupling

CASES = {
    "element by element": (
        "0.5 * s['h'] + y[:4]",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [0] traced
        """,
    ),
    "a neighbour": (
        "0.5 * s['h'] + jnp.roll(s['h'], 1) + y[:4]",
        """
        jacobian %h <- %h : [-1..0,3]
        associate %W at %y_W : [0] traced
        """,
    ),
    "no recurrence": ("y[:4]", "associate %W at %y_W : [0] traced"),
    "fused gates": (
        "y[:4] * s['h'] + jnp.tanh(y[4:])",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [0,4] traced
        """,
    ),
    "a gather": (
        "s['h'] + y[jnp.array([2, 0, 7, 1])]",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [map:2;0;7;1] traced
        """,
    ),
    "a pool": (
        "s['h'] + y.reshape(4, 2).sum(1)",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [b2>1] traced
        """,
    ),
    "a row repeated": (
        "s['h'] + jnp.concatenate([y[:2], y[:2]])",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [map:0^2@4>2 x =@2] traced
        """,
    ),
    "a broadcast": (
        "s['h'] + y[0]",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [(0>) 0, *] traced
        """,
    ),
    "a softmax": (
        "s['h'] + jax.nn.softmax(y.reshape(4, 2).sum(1))",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : [b2>1] traced
          through reduce_sum "mixes positions" loc(model.py:3:18)
        """,
    ),
    "a sort without recurrence": (
        "jnp.sort(y)[:4]",
        """
        associate %W at %y_W : none untraced
          through sort "mixes positions" loc(model.py:3:9)
        """,
    ),
    "a sort": (
        "s['h'] + jnp.sort(y)[:4]",
        """
        jacobian %h <- %h : [=]
        associate %W at %y_W : none untraced
          through sort "mixes positions" loc(model.py:3:18)
        """,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_depends_on_what(name: str):
    update, text = CASES[name]
    source = f"def step(p, s, x):\n    y = etir.matmul(x, p['W'])\n    h = {update}\n    return {{'h': h}}, h"
    step = lowered(source, {"W": "f32[3,8]"}, {"h": "f32[4]"}, "f32[3]")
    assert section(after(ClassifyCoupling, step), "jacobian", "associate", "through") == expected(text)


def test_a_site_of_two_states_has_a_coupling_for_each():
    source = """
    def step(p, s, x):
        y = etir.matmul(x, p["W"])
        v = 0.8 * s["v"] + y - 0.2 * s["a"]
        return {"v": v, "a": 0.9 * s["a"] + jnp.roll(v, 1) * s["v"]}, v
    """
    step = lowered(source, {"W": "f32[3,4]"}, {"v": "f32[4]", "a": "f32[4]"}, "f32[3]")
    assert section(after(ClassifyCoupling, step), "jacobian", "associate") == expected("""
        jacobian %a <- %a : [-1..0,3]
        jacobian %a <- %v : [-1..0,3]
        jacobian %v <- %a : [=]
        jacobian %v <- %v : [=]
        associate %W at %y_W : [-1,3], [=] traced
    """)


@pytest.mark.parametrize("name", CASES)
def test_it_leaves_alone_what_it_made(name: str):
    update, _ = CASES[name]
    source = f"def step(p, s, x):\n    y = etir.matmul(x, p['W'])\n    h = {update}\n    return {{'h': h}}, h"
    transition = after(ClassifyCoupling, lowered(source, {"W": "f32[3,8]"}, {"h": "f32[4]"}, "f32[3]"))
    assert ClassifyCoupling().run(transition) is transition
