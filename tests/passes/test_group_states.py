"""group-states: hidden states that depend on each other position by position."""

import pytest
from stages import after, lowered, section

from etir.passes import GroupStates


def groups(body: str, **states: str) -> str:
    source = f"def step(p, s, x):\n    return {body}, x"
    return section(after(GroupStates, lowered(source, {}, states, "f32[4]")), "group")


@pytest.mark.parametrize(
    ("body", "states", "text"),
    [
        (
            "{'v': 0.9 * s['v'] - s['a'], 'a': 0.8 * s['a'] + jnp.tanh(s['v'])}",
            {"v": "f32[4]", "a": "f32[4]"},
            "group #0 [%a, %v] shape [4]",
        ),
        (
            "{'v': 0.9 * s['v'] - s['a'], 'a': x}",
            {"v": "f32[4]", "a": "f32[4]"},
            "group #0 [%a, %v] shape [4]",
        ),
        ("{'a': s['b'], 'b': s['c'], 'c': x}", {"a": "f32[4]", "b": "f32[4]", "c": "f32[4]"},
         "group #0 [%a, %b, %c] shape [4]"),
        ("{'v': s['v'], 'a': s['a']}", {"v": "f32[4]", "a": "f32[4]"},
         "group #0 [%a] shape [4]\ngroup #1 [%v] shape [4]"),
        (
            "{'v': s['v'] + s['a'].sum(), 'a': s['a']}",
            {"v": "f32[4]", "a": "f32[4]"},
            "group #0 [%a] shape [4]\ngroup #1 [%v] shape [4]",
        ),
        (
            "{'v': s['v'] + jnp.roll(s['a'], 1), 'a': s['a']}",
            {"v": "f32[4]", "a": "f32[4]"},
            "group #0 [%a] shape [4]\ngroup #1 [%v] shape [4]",
        ),
        (
            "{'v': s['v'] + s['a'].reshape(4), 'a': s['a']}",
            {"v": "f32[4]", "a": "f32[2,2]"},
            "group #0 [%a] shape [2,2]\ngroup #1 [%v] shape [4]",
        ),
        (
            "{'v': s['v'] + jnp.where(s['n'] > 0, 1, 0), 'n': s['n']}",
            {"v": "f32[4]", "n": "i32[4]"},
            "group #0 [%v] shape [4]",
        ),
        (
            "{'z': s['z'] + s['r'], 'r': s['r']}",
            {"z": "c64[4]", "r": "f32[4]"},
            "group #0 [%r] shape [4]\ngroup #1 [%z] shape [4]",
        ),
    ],
    ids=["both ways", "one way", "a chain", "apart", "a sum", "a neighbour", "another shape", "discrete", "real"],
)  # fmt: skip
def test_which_states_are_joined(body: str, states: dict[str, str], text: str):
    found = groups(body, **states).replace(" {\n}", "")
    assert found == text


def test_it_leaves_alone_what_it_made():
    source = "def step(p, s, x):\n    return {'v': s['v'] + x}, x"
    transition = after(GroupStates, lowered(source, {}, {"v": "f32[4]"}, "f32[4]"))
    assert GroupStates().run(transition) is transition
