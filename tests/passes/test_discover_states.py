"""discover-states: hidden, buffer or discrete."""

import pytest
from snippets import expected
from stages import after, before, lowered, section

from etir.ir.diagnostics import EtirError
from etir.passes import DiscoverStates

SOURCE = """
def step(p, s, x):
    return {**s, "v": s["v"] + x}, x
"""


def test_the_kind_follows_from_the_type_and_the_declaration():
    states = {"v": "f32[4]", "z": "c64[2]", "b": "bf16[]", "n": "i32[]", "on": "bool[4]", "line": "f32[4]"}
    step = lowered(SOURCE, {}, states, "f32[4]", buffers=("line",))
    assert section(after(DiscoverStates, step), "state") == expected("""
        state %b -> %b1 : bf16[] hidden "b"
        state %line -> %line1 : f32[4] buffer "line"
        state %n -> %n1 : i32[] discrete "n"
        state %on -> %on1 : bool[4] discrete "on"
        state %v -> %v1 : f32[4] hidden "v"
        state %z -> %z1 : c64[2] hidden "z"
    """)


def test_it_leaves_alone_what_it_made():
    transition = after(DiscoverStates, lowered(SOURCE, {}, {"v": "f32[4]", "n": "i32[]"}, "f32[4]"))
    assert DiscoverStates().run(transition) is transition


def test_a_step_without_a_hidden_state():
    step = lowered(SOURCE, {}, {"v": "f32[3]", "n": "i32[]"}, "f32[3]", buffers=("v",))
    with pytest.raises(EtirError) as failure:
        DiscoverStates().run(before(DiscoverStates, step))
    assert str(failure.value) == expected("""
        model.py:1: error: step 'step' has no hidden state, so there is nothing to learn online [no-hidden-state]
          def step(p, s, x):
          note: state 'n' is i32[]: only floating and complex states carry credit
          note: state 'v' is f32[3], declared not hidden
          help: give the step a state of floating or complex type that it reads and returns
    """)


def test_a_step_without_a_state():
    step = lowered("def step(p, s, x):\n    return {}, x", {}, {}, "f32[3]")
    with pytest.raises(EtirError) as failure:
        DiscoverStates().run(before(DiscoverStates, step))
    assert failure.value.diagnostics[0].notes == ("it has no state at all",)
