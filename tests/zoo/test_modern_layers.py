"""The zoo's layers: weights that feed an element-wise recurrence are exact, and their traces no larger than it is."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import (
    LAYERS,
    VARIANTS,
    compiled,
    differing,
    driver,
    false_labels,
    labels_of,
    marks,
    zeros,
)
from oracles import Gradients, bptt, by_path
from problems import bptt_gradients, problem, truncated_gradients
from trace_sizes import trace_sizes

import etir
from etir import zoo

WINDOWS = (1, 2)
STEPS = 7


def turns() -> list[Any]:
    """Each layer with each window: one of them by default, and none of a variant."""
    return [
        pytest.param(name, window, marks=marks(k % 2 == w and name not in VARIANTS))
        for k, name in enumerate(LAYERS)
        for w, window in enumerate(WINDOWS)
    ]


@cache
def learnt(name: str, window: int) -> tuple[dict[str, str], Gradients]:
    """Labels and gradients of a layer under `d_rtrl`."""
    of = problem(name)
    learner = compiled(of, "d_rtrl", window)
    return labels_of(learner), by_path(driver(learner)(*of.arguments)[0])


@pytest.mark.parametrize(("name", "window"), turns())
def test_gradients_are_what_the_certificate_says(name: str, window: int):
    of_layer, exact, truncated = learnt(name, window), bptt_gradients(name), truncated_gradients(name, window)
    assert false_labels(*of_layer, exact, truncated) == []
    assert zeros(*of_layer, exact, truncated) == []


@pytest.mark.parametrize(("name", "window"), turns())
def test_what_reasoning_calls_exact_equals_bptt(name: str, window: int):
    wanted = {path: bptt_gradients(name)[path] for path, label in zoo.case(name).labels.items() if label == "exact"}
    assert any(np.any(grad) for grad in wanted.values())
    assert differing(learnt(name, window)[1], wanted) == {}


@pytest.mark.parametrize("name", LAYERS)
def test_traces_are_no_larger_than_states_times_data(name: str):
    sizes = trace_sizes(compiled(problem(name), "d_rtrl", 1).transition)
    claimed = {path: sizes[path] for path, label in zoo.case(name).labels.items() if label == "exact"}
    assert {path: size for path, size in claimed.items() if size.held > size.states_times_data} == {}


def test_the_measure_counts_what_is_held():
    """Each weight of minLSTM feeds one position; a batch multiplies both sides alike."""
    sizes = trace_sizes(compiled(problem("min_lstm"), "d_rtrl", 1).transition)
    assert {path: (size.held // 8, size.states_times_data // 8) for path, size in sizes.items()} == {
        "Wf": (30, 30), "Wh": (30, 30), "Wi": (30, 30), "bf": (6, 30), "bh": (6, 30), "bi": (6, 30),
        "readout": (0, 36),
    }  # fmt: skip
    batched = trace_sizes(compiled(problem("min_lstm", batch=3), "d_rtrl", 1).transition)
    assert batched == {path: (3 * size.held, 3 * size.states_times_data) for path, size in sizes.items()}


@pytest.mark.parametrize("rule", ["snap", pytest.param("rtrl", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("name", "bought", "block"),
    [("delta_net", ("Wk",), 18), pytest.param("slstm_heads", ("Rf",), 3, marks=pytest.mark.slow)],
)
def test_what_mixes_inside_a_block_is_exact_at_its_cost(name: str, bought: tuple[str, ...], block: int, rule: str):
    """A head's units see each other; a key of DeltaNet reaches the whole memory, of 6 values by 3 keys."""
    of = problem(name)
    learner = compiled(of, "bptt", 1, rules=dict.fromkeys(bought, rule))
    found = by_path(driver(learner)(*of.arguments)[0])
    assert {labels_of(learner)[path] for path in bought} == {"exact"}
    assert differing(found, {path: bptt_gradients(name)[path] for path in bought}) == {}
    if rule == "snap":
        sizes = trace_sizes(learner.transition)
        assert [path for path in bought if sizes[path].held > block * sizes[path].states_times_data] == []


def turned(p: Any, z: Any) -> Any:
    return 0.8 * jnp.exp(1j * p["turn"]) * z


def read(p: Any, z: Any) -> Any:
    return jnp.concatenate([z.real, z.imag], -1) @ p["readout"]


def scaled_into_complex(p: Any, s: Any, x: Any) -> Any:
    """A real state drives a complex one through a real factor, position by position."""
    r = 0.7 * s["r"] + jnp.tanh(x @ p["W"])
    z = turned(p, s["z"]) + p["gain"] * r
    return {"r": r, "z": z}, read(p, z)


def mixed_into_complex(p: Any, s: Any, x: Any) -> Any:
    """A real state, which filters the input, drives a complex one through a real product."""
    r = 0.7 * s["r"] + x
    z = turned(p, s["z"]) + r @ p["W"]
    return {"r": r, "z": z}, read(p, z)


def biased_by_row(p: Any, s: Any, x: Any) -> Any:
    """A product and a bias under `jax.vmap`: the rows of the state share both."""
    rows = jnp.stack([x, x**2, jnp.sin(x)])
    h = 0.7 * s["h"] + jax.vmap(lambda row: jnp.tanh(row @ p["W"] + p["b"]))(rows)
    return {"h": h}, h @ p["readout"]


PARTS = {
    "scaled_into_complex": (scaled_into_complex, {"W": (5, 6), "turn": (6,), "gain": (6,), "readout": (12, 2)}),
    "mixed_into_complex": (mixed_into_complex, {"W": (5, 6), "turn": (6,), "readout": (12, 2)}),
    "biased_by_row": (biased_by_row, {"W": (5, 6), "b": (6,), "readout": (6, 2)}),
}
STATES = {
    "scaled_into_complex": {"r": jnp.zeros(6), "z": jnp.zeros(6, complex)},
    "mixed_into_complex": {"r": jnp.zeros(5), "z": jnp.zeros(6, complex)},
    "biased_by_row": {"h": jnp.zeros((3, 6))},
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_layers_are_exact_at_states_times_data(name: str):
    step, shapes = PARTS[name]
    keys = iter(jax.random.split(jax.random.key(0), 9))
    params = {path: 0.5 * jax.random.normal(next(keys), shape) for path, shape in shapes.items()}
    xs = jax.random.normal(next(keys), (STEPS, 5))
    y = jax.eval_shape(step, params, STATES[name], xs[0])[1]
    ts = jax.random.normal(next(keys), (STEPS, *y.shape))
    learner = etir.compile(step, params, STATES[name], xs[0], window=2, sites="auto", on_truncated="ignore")
    found = by_path(driver(learner)(params, STATES[name], xs, ts)[0])
    wanted = bptt(step, params, STATES[name], (xs,), ts).grads
    assert labels_of(learner) == dict.fromkeys(params, "exact")
    assert differing(found, wanted) == {}
    sizes = trace_sizes(learner.transition)
    assert [path for path, size in sizes.items() if size.held > size.states_times_data] == []
