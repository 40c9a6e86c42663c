"""The texts that the state-based face grew from: their programs as they stand, but for the import lines."""

import contextlib
import io
from typing import Any

import jax.numpy as jnp
import pytest

import etir
from etir import EtirWarning

IMPORTS = """
import jax
import jax.numpy as jnp
import etir as brainstate
import etir as braintrace
"""

SIMPLE = '''
class SimpleNeuron(brainstate.nn.Module):
    """A minimal recurrent neuron with a single hidden state."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        self.h = brainstate.HiddenState(jnp.zeros(size))

    def update(self, x):
        # braintrace.matmul marks w as participating in online learning
        self.h.value = jax.nn.tanh(x + braintrace.matmul(self.h.value, self.w.value))
        return self.h.value


# Create the model and initialize states
model_simple = SimpleNeuron(32)
brainstate.nn.init_all_states(model_simple)

print(f"Hidden state shape: {model_simple.h.value.shape}")
print(f"Number of state dimensions: {model_simple.h.num_state}")
'''

ADAPTIVE = '''
class AdaptiveNeuron(brainstate.nn.Module):
    """A neuron with two correlated hidden states: voltage V and adaptation current I."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        # Two correlated states bundled into one HiddenGroupState
        self.state = brainstate.HiddenGroupState(
            V=jnp.zeros(size),
            I=jnp.zeros(size),
        )

    def update(self, x):
        V, I = self.state['V'], self.state['I']
        new_V = 0.9 * V + x + braintrace.matmul(V, self.w.value) - I
        new_I = 0.95 * I + 0.1 * V
        self.state.value = dict(V=new_V, I=new_I)
        return new_V


model_adaptive = AdaptiveNeuron(32)
brainstate.nn.init_all_states(model_adaptive)

print(f"Number of states in group: {model_adaptive.state.num_state}")
print(f"State shape: {model_adaptive.state.varshape}")
'''

TREE = '''
class TreeNeuron(brainstate.nn.Module):
    """A neuron using HiddenTreeState for hierarchical state management."""

    def __init__(self, size):
        super().__init__()
        self.w = brainstate.ParamState(brainstate.random.randn(size, size) * 0.01)
        # Four state variables organized in a dict tree
        self.state = brainstate.HiddenTreeState({
            'I1': jnp.zeros(size),
            'I2': jnp.zeros(size),
            'V': jnp.zeros(size),
            'V_th': jnp.ones(size),
        })

    def update(self, x):
        I1 = self.state['I1']
        I2 = self.state['I2']
        V = self.state['V']
        V_th = self.state['V_th']

        new_I1 = 0.9 * I1
        new_I2 = 0.95 * I2
        new_V = 0.8 * V + x + braintrace.matmul(V, self.w.value) + I1 + I2
        new_V_th = 0.99 * V_th + 0.01 * V

        self.state.value = dict(I1=new_I1, I2=new_I2, V=new_V, V_th=new_V_th)
        return new_V


model_tree = TreeNeuron(32)
brainstate.nn.init_all_states(model_tree)

print(f"Number of independent states in tree: {model_tree.state.num_state}")
'''

SIMPLE_GROUPS = """
# Inspect hidden groups for the SimpleNeuron model
model_simple = SimpleNeuron(32)
brainstate.nn.init_all_states(model_simple)

groups, path_map = braintrace.find_hidden_groups_from_module(model_simple, jnp.zeros(32))

for g in groups:
    print(f"Group {g.index}:")
    print(f"  Hidden state paths: {g.hidden_paths}")
    print(f"  Number of states:   {g.num_state}")
    print(f"  State shape:        {g.varshape}")
    print()
"""

ADAPTIVE_GROUPS = """
# Inspect hidden groups for the AdaptiveNeuron model
model_adaptive = AdaptiveNeuron(32)
brainstate.nn.init_all_states(model_adaptive)

groups, path_map = braintrace.find_hidden_groups_from_module(model_adaptive, jnp.zeros(32))

for g in groups:
    print(f"Group {g.index}:")
    print(f"  Hidden state paths: {g.hidden_paths}")
    print(f"  Number of states:   {g.num_state}")
    print(f"  State shape:        {g.varshape}")
    print()
"""

BATCHES = """
model = SimpleNeuron(32)

# --- Single-sample initialization ---
brainstate.nn.init_all_states(model)
print("Single-sample h shape:", model.h.value.shape)

# --- Batched initialization (manual batching) ---
brainstate.nn.init_all_states(model, batch_size=16)
print("Batched h shape:      ", model.h.value.shape)
"""

AUTOMATIC_BATCHES = """
# --- Automatic batching with vmap_new_states ---
model = SimpleNeuron(32)

@brainstate.transform.vmap_new_states(state_tag='new', axis_size=16)
def init():
    brainstate.nn.init_all_states(model)

init()

# After vmap initialization, hidden states are managed per-sample internally.
# The model still "thinks" it processes a single sample, but vmap replicates
# the computation across the batch dimension automatically.
print("After vmap_new_states, model is ready for automatic batching.")
"""

LEARNER = """
# Complete example: model -> compile -> inspect graph structure

model = SimpleNeuron(8)
brainstate.nn.init_all_states(model)

# Wrap the model in the D-RTRL online learning algorithm
algo = braintrace.D_RTRL(model)

# Compile the computation graph with a dummy input
algo.compile_graph(jnp.zeros(8))

# Display the discovered graph structure:
# - Which hidden groups were found
# - Which weight parameters are associated with each group
algo.show_graph()
"""

TWO_LAYERS = '''
# A two-layer recurrent network to demonstrate multi-group discovery

class TwoLayerRNN(brainstate.nn.Module):
    """Two stacked recurrent layers, each with its own hidden state."""

    def __init__(self, in_size, hidden_size, out_size):
        super().__init__()
        # Layer 1
        self.w1_in = brainstate.ParamState(brainstate.random.randn(in_size, hidden_size) * 0.01)
        self.w1_rec = brainstate.ParamState(brainstate.random.randn(hidden_size, hidden_size) * 0.01)
        self.h1 = brainstate.HiddenState(jnp.zeros(hidden_size))

        # Layer 2
        self.w2_in = brainstate.ParamState(brainstate.random.randn(hidden_size, out_size) * 0.01)
        self.w2_rec = brainstate.ParamState(brainstate.random.randn(out_size, out_size) * 0.01)
        self.h2 = brainstate.HiddenState(jnp.zeros(out_size))

    def update(self, x):
        # Layer 1: x feeds in, h1 recurs
        self.h1.value = jax.nn.tanh(
            x @ self.w1_in.value + braintrace.matmul(self.h1.value, self.w1_rec.value)
        )
        # Layer 2: h1 feeds in, h2 recurs
        self.h2.value = jax.nn.tanh(
            self.h1.value @ self.w2_in.value + braintrace.matmul(self.h2.value, self.w2_rec.value)
        )
        return self.h2.value


model_2layer = TwoLayerRNN(in_size=10, hidden_size=16, out_size=8)
brainstate.nn.init_all_states(model_2layer)

algo_2layer = braintrace.D_RTRL(model_2layer)
algo_2layer.compile_graph(jnp.zeros(10))
algo_2layer.show_graph()
'''

COUNTER = """
class Counter(brainstate.nn.Module):
    def __init__(self):
        super().__init__()
        self.n = brainstate.State(jnp.array(0))

    def __call__(self):
        self.n.value += 1
        return self.n.value

counter = brainstate.transform.jit(Counter())
counts = [int(counter()) for _ in range(4)] # 1, 2, 3, 4 — the write persists
"""


GROUP = """Group 0:
  Hidden state paths: {paths}
  Number of states:   {count}
  State shape:        (32,)

"""

LEARNER_GRAPH = """\
SimpleNeuron: 1 hidden group, d_rtrl, window 1

group #0: 1 state of shape [8]
  state   h  f64[8]
  weight  w  dot i,ij->j  approximate  to h [=]
"""

TWO_LAYERS_GRAPH = """\
TwoLayerRNN: 2 hidden groups, d_rtrl, window 1

group #0: 1 state of shape [16]
  state   h1  f64[16]
  weight  w1_rec  dot i,ij->j  approximate  to h1 [=]

group #1: 1 state of shape [8]
  state   h2  f64[8]
  weight  w2_rec  dot i,ij->j  approximate  to h2 [=]

2 other parameters are associated with no group, and are learnt without a trace: w1_in, w2_in
"""

PROMISES = {
    "simple": ((SIMPLE,), "Hidden state shape: (32,)\nNumber of state dimensions: 1\n"),
    "adaptive": ((ADAPTIVE,), "Number of states in group: 2\nState shape: (32,)\n"),
    "tree": ((TREE,), "Number of independent states in tree: 4\n"),
    "simple groups": ((SIMPLE, SIMPLE_GROUPS), GROUP.format(paths="('h',)", count=1)),
    "adaptive groups": ((ADAPTIVE, ADAPTIVE_GROUPS), GROUP.format(paths="('state.I', 'state.V')", count=2)),
    "batches": ((SIMPLE, BATCHES), "Single-sample h shape: (32,)\nBatched h shape:       (16, 32)\n"),
    "automatic batches": (
        (SIMPLE, AUTOMATIC_BATCHES),
        "After vmap_new_states, model is ready for automatic batching.\n",
    ),
    "learner": ((SIMPLE, LEARNER), LEARNER_GRAPH),
}
"""What the last of some programs prints."""


def run(*programs: str) -> tuple[dict[str, Any], str]:
    """The names that programs define one after the other, and what the last one prints."""
    names: dict[str, Any] = {"__name__": "tutorial"}
    for program in (IMPORTS, *programs):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(program, names)
    return names, printed.getvalue()


@pytest.mark.parametrize("name", PROMISES)
def test_each_program_prints_what_its_text_promises(name: str):
    programs, promised = PROMISES[name]
    assert run(*programs)[1] == promised


def test_feedforward_weights_use_plain_products_and_so_have_no_trace():
    """Their text: they "do not appear"; they are warned of, since their credit ends with the window."""
    with pytest.warns(EtirWarning) as warned:
        names, printed = run(TWO_LAYERS)
    assert printed == TWO_LAYERS_GRAPH
    assert [str(warning.message).partition("\n")[0] for warning in warned] == [
        f"warning: '{name}' has no trace under 'd_rtrl': its credit ends where the window begins [truncated-weight]"
        for name in ("w1_in", "w2_in")
    ]
    assert {warning.filename for warning in warned} == {"<string>"}
    transition = names["algo_2layer"].learner.transition
    associated = {path for a in transition.associations for path in a.site.weight.paths}
    assert associated == {"w1_rec", "w2_rec"}


def test_states_are_ready_for_what_follows():
    names, _ = run(TREE)
    model = names["model_tree"]
    model(jnp.ones(32))
    assert float(model.state["V"].mean()) == 1
    names, _ = run(SIMPLE, BATCHES)
    assert names["model"](jnp.ones((16, 32))).shape == (16, 32)
    names, _ = run(SIMPLE, AUTOMATIC_BATCHES)
    assert names["model"].h.value.shape == (16, 32)
    assert etir.transform.vmap(names["model"])(jnp.ones((16, 32))).shape == (16, 32)
    names, _ = run(SIMPLE, LEARNER)
    assert [names["algo"](jnp.ones(8)).shape for _ in range(2)] == [(8,), (8,)]


def test_the_adaptive_neuron_is_one_group_whose_states_share_it():
    names, _ = run(ADAPTIVE, ADAPTIVE_GROUPS)
    assert names["path_map"]["state.V"] is names["path_map"]["state.I"] is names["groups"][0]


def test_the_counter_counts():
    """Its indentation was lost on the way, and is restored."""
    names, _ = run(COUNTER)
    assert names["counts"] == [1, 2, 3, 4]
