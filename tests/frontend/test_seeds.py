"""The programs that the state-based face grew from, as their texts have them; only the import lines differ."""

import jax
import jax.numpy as jnp

from etir import frontend as brainstate


class SimpleNeuron(brainstate.nn.Module):
    """A minimal recurrent neuron with a single hidden state."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        self.h = brainstate.HiddenState(jnp.zeros(size))

    def update(self, x):
        self.h.value = jax.nn.tanh(x + self.h.value @ self.w.value)
        return self.h.value


class AdaptiveNeuron(brainstate.nn.Module):
    """A neuron with two correlated hidden states: voltage V and adaptation current I."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        self.state = brainstate.HiddenGroupState(
            V=jnp.zeros(size),
            I=jnp.zeros(size),
        )

    def update(self, x):
        V, I = self.state["V"], self.state["I"]
        new_V = 0.9 * V + x + V @ self.w.value - I
        new_I = 0.95 * I + 0.1 * V
        self.state.value = dict(V=new_V, I=new_I)  # noqa: C408
        return new_V


class TreeNeuron(brainstate.nn.Module):
    """A neuron using HiddenTreeState for hierarchical state management."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        self.state = brainstate.HiddenTreeState(
            {
                "I1": jnp.zeros(size),
                "I2": jnp.zeros(size),
                "V": jnp.zeros(size),
                "V_th": jnp.ones(size),
            }
        )

    def update(self, x):
        I1 = self.state["I1"]
        I2 = self.state["I2"]
        V = self.state["V"]
        V_th = self.state["V_th"]

        new_I1 = 0.9 * I1
        new_I2 = 0.95 * I2
        new_V = 0.8 * V + x + V @ self.w.value + I1 + I2
        new_V_th = 0.99 * V_th + 0.01 * V

        self.state.value = dict(I1=new_I1, I2=new_I2, V=new_V, V_th=new_V_th)  # noqa: C408
        return new_V


class Counter(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = brainstate.State(jnp.array(0))

    def __call__(self):
        self.n.value += 1
        return self.n.value


def test_counter():
    counter = brainstate.transform.jit(Counter())
    assert [int(counter()) for _ in range(4)] == [1, 2, 3, 4]


def test_simple_neuron():
    model_simple = SimpleNeuron(32)
    brainstate.nn.init_all_states(model_simple)
    assert (model_simple.h.value.shape, model_simple.h.num_state) == ((32,), 1)
    assert model_simple(jnp.ones(32)).shape == (32,)


def test_adaptive_neuron():
    model_adaptive = AdaptiveNeuron(32)
    brainstate.nn.init_all_states(model_adaptive)
    assert (model_adaptive.state.num_state, model_adaptive.state.varshape) == (2, (32,))
    model_adaptive(jnp.ones(32))
    assert float(brainstate.transform.jit(model_adaptive)(jnp.ones(32)).mean()) > 1.5


def test_tree_neuron():
    model_tree = TreeNeuron(32)
    brainstate.nn.init_all_states(model_tree)
    assert model_tree.state.num_state == 4
    model_tree(jnp.ones(32))
    assert float(model_tree.state["V"].mean()) == 1


def test_initialisation_and_batching():
    model = SimpleNeuron(32)
    brainstate.nn.init_all_states(model)
    assert model.h.value.shape == (32,)
    brainstate.nn.init_all_states(model, batch_size=16)
    assert model.h.value.shape == (16, 32)
    assert model(jnp.ones((16, 32))).shape == (16, 32)


def test_automatic_batching():
    model = SimpleNeuron(32)

    @brainstate.transform.vmap_new_states(state_tag="new", axis_size=16)
    def init():
        brainstate.nn.init_all_states(model)

    init()
    assert model.h.value.shape == (16, 32)
    assert brainstate.transform.vmap(model)(jnp.ones((16, 32))).shape == (16, 32)


class Trace(brainstate.nn.Module):
    """A layer that copies the shape of its first input, and replaces one axis by its number of neurons."""

    def __init__(self, num_neurons, dim=-1):
        self.dim = dim
        self.trace = brainstate.HiddenState(lazy=lambda x: jnp.zeros(self.shape_for(x.shape, num_neurons), x.dtype))

    def shape_for(self, shape, num_neurons):
        axis = self.dim % len(shape)
        return (*shape[:axis], num_neurons, *shape[axis + 1 :])

    def update(self, x):
        self.trace.value = 0.9 * self.trace.ensure(x) + x
        return self.trace.value


def test_sequences_of_different_batches():
    """`zero_states` between sequences, `detach_states` between steps, `save_states` and `load_states` to resume."""
    model = brainstate.nn.Sequential(Trace(32, dim=-3), jnp.tanh)
    for batch in (2, 5):
        brainstate.nn.zero_states(model)
        for _ in range(3):
            out = model(jnp.ones((batch, 32, 4, 4)))
            brainstate.nn.detach_states(model)
        assert out.shape == (batch, 32, 4, 4)
    saved = brainstate.nn.save_states(model)
    after = model(jnp.ones((5, 32, 4, 4)))
    brainstate.nn.zero_states(model)
    brainstate.nn.load_states(model, saved, strict=False)
    assert jnp.array_equal(model(jnp.ones((5, 32, 4, 4))), after)
