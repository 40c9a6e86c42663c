"""A model as a pure step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from snippets import expected, message_of

from etir.frontend import (
    HiddenGroupState,
    HiddenState,
    ParamState,
    ShortTermState,
    State,
    functionalise,
    nn,
    random,
    transform,
)
from etir.ir.diagnostics import EtirError


class Cell(nn.Module):
    def __init__(self) -> None:
        self.w = ParamState(jnp.eye(2) * 0.5)
        self.unused = ParamState(jnp.zeros(3))
        self.state = HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(2))
        self.buffer = ShortTermState(jnp.zeros(2))
        self.count = State(0)

    def update(self, x):
        V, I = self.state["V"], self.state["I"]
        self.state.value = dict(V=0.9 * V + x + V @ self.w.value - I, I=0.95 * I + 0.1 * V)  # noqa: C408
        self.buffer.value = x
        self.count.value += 1
        return self.state["V"] + random.rand(2) * 0


class Net(nn.Module):
    def __init__(self) -> None:
        self.cell = Cell()

    def update(self, x):
        return self.cell(x)


def test_what_comes_out():
    net = Net()
    pure = functionalise(net, jnp.ones(2))
    step, params, states = pure
    assert (step, step.__name__) == (pure.step, "Net")
    assert list(params) == ["cell.w", "cell.unused"]
    assert pure.kinds == {
        "cell.state": "hidden",
        "cell.buffer": "short_term",
        "cell.count": "other",
        "random.key": "other",
    }
    assert list(states) == list(pure.kinds)
    assert list(states["cell.state"]) == ["I", "V"]
    assert pure.bindings["cell.w"] is net.cell.w
    assert str(pure.locs["cell.buffer"]).startswith("test_functionalise.py:")
    assert pure.locs["cell.buffer"].source_line().strip() == "self.buffer = ShortTermState(jnp.zeros(2))"
    assert float(net.cell.state["V"].sum()) == 0


def test_the_step_is_pure_and_is_the_model():
    net = Net()
    pure = functionalise(net, jax.ShapeDtypeStruct((2,), jnp.float64))
    step, states = jax.jit(pure.step), pure.states
    for _ in range(3):
        states, y = step(pure.params, states, jnp.ones(2))
    assert int(net.cell.count.value) == 0
    outputs = [net(jnp.ones(2)) for _ in range(3)]
    np.testing.assert_allclose(y, outputs[-1])
    assert jax.tree.all(jax.tree.map(jnp.array_equal, states["cell.state"], net.cell.state.value))


def test_write_back():
    net = Net()
    pure = functionalise(net, jnp.ones(2))
    states, _ = pure.step(pure.params, pure.states, jnp.ones(2))
    pure.write_back(states)
    assert (net.cell.state["V"].tolist(), int(net.cell.count.value)) == ([1, 1], 1)
    pure.write_back(states, {"cell.w": jnp.ones((2, 2)), "cell.unused": jnp.ones(3)})
    assert float(net.cell.w.value.sum()) == 4


def test_gradients_and_scan_of_the_step():
    pure = functionalise(Net(), jnp.ones(2))

    def loss(params):
        _, ys = jax.lax.scan(lambda s, x: pure.step(params, s, x), pure.states, jnp.ones((4, 2)))
        return ys.sum()

    grads = jax.grad(loss)(pure.params)
    assert float(jnp.abs(grads["cell.w"]).sum()) > 0
    assert float(jnp.abs(grads["cell.unused"]).sum()) == 0


def test_a_function_and_what_it_closes_over():
    w, h, other = ParamState(2.0, name="w"), HiddenState(1.0, name="h"), HiddenState(1.0, name="h")
    unnamed = State(3)

    def model(x):
        h.value = h.value * w.value + x + other.value + unnamed.value
        return h.value

    pure = functionalise(model, 0.0)
    assert (list(pure.params), list(pure.states)) == (["w"], ["h", "h.2", "State"])
    new, y = pure.step({"w": 10.0}, pure.states, 0.5)
    assert (float(y), float(h.value), float(new["h.2"])) == (14.5, 1, 1)


def test_a_vmapped_module_keeps_its_paths():
    cell = Cell()
    transform.vmap_new_states(lambda: nn.init_all_states(cell) and None, axis_size=3)()
    pure = functionalise(transform.vmap(cell), jnp.ones((3, 2)))
    assert list(pure.states) == ["state", "buffer", "count", "random.key"]
    new, y = pure.step(pure.params, pure.states, jnp.ones((3, 2)))
    assert (y.shape, new["state"]["V"].shape, int(new["count"])) == ((3, 2), (3, 2), 1)


def test_lazy_states_are_set_first():
    model = nn.Module()
    model.h = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))
    model.other = HiddenState(lazy=lambda x: jnp.zeros(x.shape, x.dtype))
    model.update = lambda x: setattr(model.h, "value", model.h.ensure(x) + x)
    pure = functionalise(model, jnp.ones(3))
    assert {path: value.tolist() for path, value in pure.states.items()} == {"h": [0, 0, 0]}
    assert pure.step({}, pure.states, jnp.ones(3))[0]["h"].tolist() == [1, 1, 1]


def test_inner_transforms():
    net = Net()
    pure = functionalise(transform.jit(lambda xs: transform.for_loop(net, xs)), jnp.ones((4, 2)))
    new, _ = pure.step(pure.params, pure.states, jnp.ones((4, 2)))
    assert int(new["count"]) == 4
    assert int(net.cell.count.value) == 0


def test_a_count_in_python_is_refused_in_any_part():
    assert message_of("""
        class Part(nn.Module):
            def __init__(self):
                self.h = HiddenState(jnp.zeros(2))
                self.n, self.rate, self.bound = [0], float("nan"), None

            def update(self, x):
                self.n[0] += 1
                self.h.value = 0.5 * self.h.value + x * self.n[0]
                return self.h.value

        class Net(nn.Module):
            def __init__(self):
                self.parts = {"a": Part()}

            def update(self, x):
                self.parts["a"].bound = "settled"
                return self.parts["a"](x)

        pure = functionalise(Net(), jnp.ones(2))
        pure.step({}, pure.states, jnp.ones(2))
    """) == expected("""
        model.py:15: error: the step changes 'parts.a.n.0', and its first value would be compiled in [attribute-written]
          def update(self, x):
          help: keep it in a state: etir.ShortTermState(0) in __init__, read and written as .value
    """)  # fmt: skip


def test_a_written_weight_is_refused():
    assert message_of("""
        class Cell(nn.Module):
            def __init__(self):
                self.w = ParamState(jnp.ones(2))
                self.b = ParamState(jnp.ones(2))

            def update(self, x):
                self.w.value = self.w.value * 0.99
                self.b.value += 1
                return self.w.value * x

        functionalise(nn.Sequential(Cell()), jnp.ones(2))
    """) == expected("""
        model.py:7:9: error: weight 'layers.0.w' is written in the step, which must hold weights still [weight-written]
          self.w.value = self.w.value * 0.99
          ^^^^^^^^^^^^
          note: model.py:3:18: weight 'w' is declared here
          help: train weights outside the model; declare what the step writes as a HiddenState or a State
        model.py:8:9: error: weight 'layers.0.b' is written in the step, which must hold weights still [weight-written]
          self.b.value += 1
          ^^^^^^^^^^^^
          note: model.py:4:18: weight 'b' is declared here
          help: train weights outside the model; declare what the step writes as a HiddenState or a State
    """)  # fmt: skip


def test_a_state_that_a_later_call_brings_in_is_refused():
    assert message_of("""
        a, b = State(0.0, name="a"), ParamState(0.0, name="b")
        pure = functionalise(lambda x: (a if x.ndim else b).value, jnp.ones(2))
        pure.step({}, pure.states, jnp.ones(()))
    """) == expected("""
        model.py:3:1: error: weight 'b' is used by this call of the step, and was not by the first [state-unthreaded]
          pure.step({}, pure.states, jnp.ones(()))
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:30: weight 'b' is declared here
          help: make the step again with inputs like these: what it uses must not change between calls
    """)


def test_wrong_paths_are_refused():
    assert message_of("""
        h, w = HiddenState(0.0, name="h"), ParamState(1.0, name="weight")
        pure = functionalise(lambda x: h.value * w.value, 1.0)
        pure.step({"wieght": 1.0}, pure.states, 1.0)
    """) == expected("""
        model.py:3:1: error: the step was given nothing for 'weight' [path-missing]
          pure.step({"wieght": 1.0}, pure.states, 1.0)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        model.py:3:1: error: the step was given 'wieght', which the model does not have [path-unexpected]
          pure.step({"wieght": 1.0}, pure.states, 1.0)
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          help: did you mean 'weight'?
    """)


def test_write_back_checks_trees():
    assert message_of("""
        group = HiddenGroupState(V=jnp.zeros(2), I=jnp.zeros(2), name="group")
        functionalise(lambda x: group["V"], 1.0).write_back({"group": jnp.zeros(2)})
    """) == expected("""
        model.py:2:1: error: write_back was given f64[2] for 'group', which holds {I: f64[2], V: f64[2]} [path-value]
          functionalise(lambda x: group["V"], 1.0).write_back({"group": jnp.zeros(2)})
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
          note: model.py:1:9: state 'group' is declared here
          help: initialise the model with the same sizes and the same batch first
    """)


def test_a_step_that_fails_changes_nothing():
    h = HiddenState(0.0)

    def model(x):
        h.value += 1
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        functionalise(model, 1.0)
    assert float(h.value) == 0


def test_a_local_state_is_no_state_of_the_step():
    def model(x):
        local = State(x)
        local.value += 1
        return local.value

    pure = functionalise(model, 1.0)
    assert (pure.params, pure.states) == ({}, {})
    assert float(pure.step({}, {}, 2.0)[1]) == 3


def test_a_foreign_transform_inside_the_step_is_refused():
    h = HiddenState(0.0)
    with pytest.raises(EtirError, match="foreign-transform"):
        functionalise(jax.checkpoint(lambda x: setattr(h, "value", x)), 1.0)
