"""The five kinds of state: what they hold, what they refuse, and what they say."""

import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, message_of

from etir.frontend import HiddenGroupState, HiddenState, HiddenTreeState, ParamState, ShortTermState, State, transform

LAZY = "its shape comes from the first input: call `.ensure(x)` on it before reading it"


def test_hidden_state():
    h = HiddenState(jnp.zeros(32))
    h.value = h.value + 1
    assert (h.num_state, h.varshape, float(h.value.sum())) == (1, (32,), 32.0)


def test_group_state_by_keyword_and_by_dict():
    for group in (
        HiddenGroupState(V=jnp.zeros(4), I=jnp.ones(4)),
        HiddenGroupState({"V": jnp.zeros(4), "I": jnp.ones(4)}),
    ):
        assert (group.num_state, group.varshape) == (2, (4,))
        assert group["I"].shape == (4,)
        group["V"] = group["V"] - 1
        assert float(group.value["V"].sum()) == -4
        group.value = dict(V=jnp.ones(4), I=jnp.zeros(4))  # noqa: C408
        assert (float(group["V"].sum()), float(group["I"].sum())) == (4, 0)


def test_tree_state_takes_any_tree_and_any_shapes():
    tree = HiddenTreeState({"c": jnp.zeros(3), "deep": [jnp.zeros((2, 2)), jnp.zeros(())]})
    assert tree.num_state == 3
    tree["deep"] = [jnp.ones((2, 2)), jnp.ones(())]
    assert float(tree["deep"][0].sum()) == 4
    assert HiddenTreeState({"c": jnp.zeros(3), "h": jnp.zeros(3)}).varshape == (3,)


def test_entries_of_a_tuple():
    pair = HiddenTreeState((jnp.zeros(2), jnp.ones(2)))
    pair[-1] = jnp.full(2, 3.0)
    assert [float(a.sum()) for a in pair.value] == [0, 6]


def test_kinds():
    assert issubclass(HiddenGroupState, HiddenState)
    assert issubclass(HiddenTreeState, HiddenState)
    assert not issubclass(ShortTermState, HiddenState)
    assert all(issubclass(kind, State) for kind in (ParamState, ShortTermState, HiddenState))


@pytest.mark.parametrize("value", [0, 0.0, True, np.zeros(2), np.float32(1), jnp.asarray(0.0)])
def test_values_become_strong_arrays(value):
    for state in (State(value), written := State(jnp.ones(np.shape(value)))):
        written.value = value
        assert isinstance(state.value, jax.Array)
        assert not state.value.weak_type


def test_a_key_array_is_a_value():
    key = State(jax.random.key(0))
    key.value = jax.random.split(key.value)[0]
    assert repr(key) == "State(key<fry>[])"


def test_initialiser_functions():
    assert HiddenState(lambda: jnp.ones(3)).varshape == (3,)
    assert HiddenGroupState(V=lambda: jnp.ones(3), I=jnp.zeros(3))["V"].shape == (3,)


def test_a_lazy_state_takes_its_shape_from_the_first_input():
    h = HiddenState(lazy=lambda x: jnp.zeros((*x.shape[:-1], 5), x.dtype))
    assert not h.is_set
    assert h.ensure(jnp.ones((2, 3), jnp.float32)).shape == (2, 5)
    h.value = h.value + 1
    assert float(h.ensure(jnp.ones((7, 3))).sum()) == 10
    assert repr(h) == "HiddenState(f32[2,5])"


def test_repr():
    assert (
        repr(HiddenGroupState(V=jnp.zeros(4), I=jnp.zeros(4), name="s"))
        == "HiddenGroupState('s', {I: f64[4], V: f64[4]})"
    )
    assert repr(ShortTermState()) == "ShortTermState(unset)"


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copy_is_independent(clone):
    h = HiddenState(jnp.zeros(2), name="h")
    h.note = "kept"
    other = clone(h)
    other.value = other.value + 1
    assert (float(h.value.sum()), float(other.value.sum()), other.name, other.note) == (0, 2, "h", "kept")


def test_a_change_in_place_is_a_write():
    group = HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(2))

    @transform.jit
    def step():
        group.value["V"] = group["V"] + 1

    step()
    step()
    assert float(group["V"].sum()) == 4


def test_wrong_tree_is_refused():
    assert message_of("""
        state = HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(2), name="state")
        state.value = dict(v=jnp.zeros(2), I=jnp.zeros(2))
    """) == expected("""
        model.py:2:1: error: state 'state' holds {'I', 'V'} and was given {'I', 'v'} [state-tree]
          state.value = dict(v=jnp.zeros(2), I=jnp.zeros(2))
          ^^^^^^^^^^^
          note: missing: 'V'
          note: unexpected: 'v'
          note: model.py:1:9: state 'state' is declared here
          help: known: V
    """)


def test_a_misspelt_entry_is_named():
    assert message_of("""
        state = HiddenTreeState({"v_th": jnp.zeros(2), "v": jnp.zeros(2)}, name="state")
        state.value = {"vth": jnp.zeros(2), "v": jnp.zeros(2)}
    """) == expected("""
        model.py:2:1: error: state 'state' holds {'v', 'v_th'} and was given {'v', 'vth'} [state-tree]
          state.value = {"vth": jnp.zeros(2), "v": jnp.zeros(2)}
          ^^^^^^^^^^^
          note: missing: 'v_th'
          note: unexpected: 'vth'
          note: model.py:1:9: state 'state' is declared here
          help: did you mean 'v_th'?
    """)


def test_wrong_container_is_refused():
    assert message_of("""
        state = HiddenTreeState([jnp.zeros(2), jnp.zeros(2)], name="state")
        state.value = jnp.zeros(2)
    """) == expected("""
        model.py:2:1: error: state 'state' holds a list of 2 arrays and was given one array [state-tree]
          state.value = jnp.zeros(2)
          ^^^^^^^^^^^
          note: missing: '0', '1'
          note: model.py:1:9: state 'state' is declared here
    """)


def test_unknown_entry():
    assert message_of("""
        state = HiddenGroupState(V_mem=jnp.zeros(2), I=jnp.zeros(2), name="state")
        state["V_men"]
    """) == expected("""
        model.py:2:1: error: state 'state' has no entry 'V_men': it has 'I', 'V_mem' [state-key]
          state["V_men"]
          ^^^^^^^^^^^^^^
          note: model.py:1:9: state 'state' is declared here
          help: did you mean 'V_mem'?
    """)


def test_an_array_has_no_entries():
    assert message_of("""
        h = HiddenState(jnp.zeros(2))
        h[0] = 1.0
    """) == expected("""
        model.py:2:1: error: an unnamed HiddenState has no entry 0: it holds one array [state-key]
          h[0] = 1.0
          ^^^^
          note: model.py:1:5: an unnamed HiddenState is declared here
          help: read the array as `.value`, then index that
    """)


def test_what_is_no_array_is_refused():
    assert message_of("""
        state = State({"mode": "fast"}, name="state")
    """) == expected("""
        model.py:1:9: error: state 'state' holds arrays, and was given a str at 'mode' [state-leaf]
          state = State({"mode": "fast"}, name="state")
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:9: state 'state' is declared here
          help: keep what is not an array as a plain attribute
    """)


def test_a_hidden_state_holds_one_array():
    assert message_of("""
        h = HiddenState(dict(c=jnp.zeros(2)), name="h")
    """) == expected("""
        model.py:1:5: error: a HiddenState holds one array, and state 'h' was given a dict [state-kind]
          h = HiddenState(dict(c=jnp.zeros(2)), name="h")
              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:5: state 'h' is declared here
          help: use HiddenGroupState(V=..., I=...), or HiddenTreeState for arrays of several shapes
    """)


def test_a_group_is_a_flat_dict():
    assert message_of("""
        HiddenGroupState(jnp.zeros(2))
    """) == expected("""
        model.py:1:1: error: a HiddenGroupState holds a dict of arrays, and an unnamed HiddenGroupState was given f64[2] [state-kind]
          HiddenGroupState(jnp.zeros(2))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:1: an unnamed HiddenGroupState is declared here
          help: give it V=..., I=..., each one array, or use HiddenTreeState
    """)  # noqa: E501  # fmt: skip


def test_a_group_has_one_shape():
    assert message_of("""
        HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(3), name="s")
    """) == expected("""
        model.py:1:1: error: state 's' is a group, of one shape, and was given {I: f64[3], V: f64[2]} [group-shape]
          HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(3), name="s")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:1: state 's' is declared here
          help: broadcast them to one shape, or use HiddenTreeState
    """)  # fmt: skip


def test_a_tree_of_several_shapes_has_no_common_one():
    assert message_of("""
        tree = HiddenTreeState(dict(a=jnp.zeros(2), b=jnp.zeros(3)), name="tree")
        tree.varshape
    """) == expected("""
        model.py:2:1: error: state 'tree' has no one shape: it holds {a: f64[2], b: f64[3]} [state-shapes]
          tree.varshape
          ^^^^^^^^^^^^^
          note: model.py:1:8: state 'tree' is declared here
          help: read the shape of one entry
    """)


@pytest.mark.parametrize(
    ("made", "help"),
    [
        ("HiddenState(lazy=jnp.zeros_like)", LAZY),
        ("HiddenState()", "give it an initial value, or an initialiser and call nn.init_all_states(model)"),
    ],
)  # fmt: skip
def test_an_unset_state_is_not_read(made, help):
    assert message_of(f"h = {made}\nh.name = 'h'\nh.value") == expected(f"""
        model.py:3:1: error: state 'h' is read, and has no value yet [state-unset]
          h.value
          ^^^^^^^
          note: model.py:1:5: state 'h' is declared here
          help: {help}
    """)
