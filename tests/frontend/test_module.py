"""Modules: how states are found, named and shown."""

import copy

import jax.numpy as jnp
import pytest
from snippets import expected, message_of, run_program

from etir.frontend import HiddenState, ParamState, ShortTermState, State, nn


class Cell(nn.Module):
    def __init__(self, size: int) -> None:
        self.w = ParamState(jnp.ones((size, size)))
        self.h = HiddenState(jnp.zeros(size))
        self.size = size

    def update(self, x):
        self.h.value = jnp.tanh(x + self.h.value @ self.w.value)
        return self.h.value


class Net(nn.Module):
    def __init__(self) -> None:
        self.cell = Cell(2)
        self.layers = [Cell(2), (Cell(2),)]
        self.heads = {"a": ParamState(jnp.ones(2)), 3: State(0)}
        self.tied = self.cell.w
        self.parent = self


def test_paths():
    net = Net()
    assert list(net.states()) == [
        "cell.w",
        "cell.h",
        "layers.0.w",
        "layers.0.h",
        "layers.1.0.w",
        "layers.1.0.h",
        "heads.a",
        "heads.3",
    ]
    assert net.states()["cell.w"] is net.tied


def test_states_by_kind():
    net = Net()
    assert list(net.states(ParamState)) == ["cell.w", "layers.0.w", "layers.1.0.w", "heads.a"]
    assert list(net.states("layers.*")) == ["layers.0.w", "layers.0.h", "layers.1.0.w", "layers.1.0.h"]
    assert list(net.states(lambda state: state.num_state == 1 and state.varshape == ())) == ["heads.3"]
    assert list(net.states((HiddenState, "heads.*"))) == ["cell.h", "layers.0.h", "layers.1.0.h", "heads.a", "heads.3"]
    assert net.states(ShortTermState) == {}
    assert net.states(...) == net.states()


def test_a_call_is_update():
    assert nn.Sequential(Cell(2), jnp.sum)(jnp.zeros(2)) == 0


def test_states_are_named_by_the_attribute_that_first_held_them():
    net = Net()
    assert [state.name for state in net.states().values()] == ["w", "h", "w", "h", "w", "h", "heads.a", "heads.3"]


def test_repr():
    assert repr(Net()) == expected("""
        Net(
          cell: Cell(
            w: ParamState f64[2,2]
            h: HiddenState f64[2]
            size = 2
          )
          layers.0: Cell(
            w: ParamState f64[2,2]
            h: HiddenState f64[2]
            size = 2
          )
          layers.1.0: Cell(
            w: ParamState f64[2,2]
            h: HiddenState f64[2]
            size = 2
          )
          heads.a: ParamState f64[2]
          heads.3: State i64[]
          tied: ParamState f64[2,2]
          parent: Net(...)
        )
    """)
    assert repr(nn.Module()) == "Module()"


def test_a_deep_copy_shares_nothing_but_keeps_sharing():
    net = Net()
    other = copy.deepcopy(net)
    assert other.tied is other.cell.w
    assert set(other.states().values()).isdisjoint(net.states().values())
    other.cell(jnp.ones(2))
    assert float(net.cell.h.value.sum()) == 0


def test_linear():
    layer = nn.Linear(3, 4)
    assert layer(jnp.ones((2, 3))).shape == (2, 4)
    assert list(layer.states()) == ["w", "b"]
    both = nn.Sequential(layer, nn.Linear(4, 1, bias=False))
    assert list(both.states(ParamState)) == ["layers.0.w", "layers.0.b", "layers.1.w"]


def test_a_module_without_update():
    assert message_of("nn.Module()(1)") == expected("""
        model.py:1:1: error: Module is called, and has no `update` method [module-update]
          nn.Module()(1)
          ^^^^^^^^^^^^^^
          help: define Module.update(self, ...)
    """)


def test_two_states_of_one_path():
    assert message_of("""
        model = nn.Module()
        model.parts = {"1": State(0), 1: State(0)}
        model.states()
    """) == expected("""
        model.py:3:1: error: two different states have the path 'parts.1' [path-clash]
          model.states()
          ^^^^^^^^^^^^^^
          help: rename one of them
    """)


@pytest.mark.parametrize("wanted", ["3", "int", "nn.Module()"])
def test_what_is_no_filter(wanted):
    shown = {"3": "3", "int": "<class 'int'>", "nn.Module()": "Module()"}[wanted]
    caret = "^" * len(f"nn.Module().states({wanted})")
    assert message_of(f"nn.Module().states({wanted})") == expected(f"""
        model.py:1:1: error: {shown} is no filter of states [state-filter]
          nn.Module().states({wanted})
          {caret}
          help: give a State class, a glob of paths, a predicate of a state, `...`, or a tuple of these
    """)


NETWORK = """
class Cell(Module):
    def __init__(self):
        self.w = ParamState(jnp.ones((3, 4)))
        self.h = HiddenState(jnp.zeros(4))

    def update(self, x):
        {line}
"""


def test_what_is_said_of_an_array_in_the_place_of_a_state():
    program = NETWORK.format(line="self.h = x @ self.w.value") + "Cell()(jnp.ones(3))"
    assert message_of(program) == expected("""
        model.py:7:9: error: an array is assigned to 'h', which holds state 'h'; the state would be lost [state-replaced]
          self.h = x @ self.w.value
          ^^^^^^
          note: model.py:4:18: state 'h' is declared here
          help: write its value: self.h.value = ...
    """)  # noqa: E501


def test_a_state_may_be_replaced_by_another():
    names = run_program(NETWORK.format(line="pass") + "cell = Cell()\ncell.h = HiddenState(jnp.ones(4))\ncell.w = None")
    assert list(names["cell"].states()) == ["h"]
