"""A carry prints what it holds, under a transform too."""

import jax
import jax.numpy as jnp
from snippets import expected

import etir


def step(params, states, x):
    h = jnp.linspace(0.8, 0.95, 5, dtype=jnp.float32) * states["h"] + etir.matmul(x, params["W"])
    return {"h": h, "key": states["key"], "count": states["count"] + 1}, h


STATES = {"h": jnp.zeros((2, 5), jnp.float32), "key": jax.random.key(0), "count": jnp.int32(0)}
MODEL = step, {"W": jnp.ones((3, 5), jnp.float32)}, STATES, jnp.ones((2, 3), jnp.float32)
SUMMARY = expected("""
    Carry of 328 B
      state count  i32[]       4 B
      state h      f32[2,5]    40 B
      state key    key<fry>[]  8 B
      trace 0      f32[2,3,5]  120 B
      pending      3 arrays    104 B
      cut          3 arrays    52 B
""")


def test_a_line_for_each_array():
    carry = etir.compile(*MODEL).init()
    printed = []
    jax.jit(lambda carry: printed.append(str(carry)))(carry)
    assert [repr(carry), *printed] == [SUMMARY, SUMMARY]


def test_learned_initial_states_are_held_too():
    lines = repr(etir.compile(*MODEL, initial="h").init()).splitlines()
    assert lines[0] == "InitialCarry of 429 B"
    assert lines[-3:-1] == ["  initial h    f32[2,5]    40 B", "  begun        bool[]      1 B"]


def test_a_long_carry_is_cut():
    states = {f"s{k}": jnp.zeros(1) for k in range(50)}
    assert repr(etir.Carry(states, ())).splitlines()[-1] == "  and 11 more"
