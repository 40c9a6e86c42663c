"""A learner's first carry: what is sent from the host is what the compiled program makes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import etir
from etir import zoo


def test_a_first_carry_is_the_same_where_it_is_traced() -> None:
    neuron = zoo.case("alif").build(jax.random.key(0))
    learner = etir.compile(neuron.step, neuron.params, neuron.states, *neuron.inputs)
    eager, traced = learner.init(), jax.jit(learner.init)()
    pairs = list(zip(jax.tree.leaves(eager), jax.tree.leaves(traced), strict=True))
    assert pairs
    for a, b in pairs:
        assert a.dtype == b.dtype
        assert isinstance(a, jax.Array)
        np.testing.assert_array_equal(a, b)


def test_small_first_traces_are_sent_from_the_host() -> None:
    neuron = zoo.case("alif").build(jax.random.key(0))
    learner = etir.compile(neuron.step, neuron.params, neuron.states, *neuron.inputs)
    assert learner._engine._filled is not None


def test_no_two_arrays_of_a_first_carry_are_one() -> None:
    params, states = {"u": jnp.eye(2), "w": jnp.eye(2)}, {"h": jnp.zeros((1, 2))}

    def step(params: dict[str, jax.Array], states: dict[str, jax.Array], x: jax.Array) -> tuple[object, jax.Array]:
        h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["u"]) + etir.matmul(x, params["w"]))
        return {"h": h}, h

    leaves = jax.tree.leaves(etir.compile(step, params, states, jnp.ones((1, 2))).init().traces)
    assert len({x.unsafe_buffer_pointer() for x in leaves}) == len(leaves)


def test_first_traces_that_a_program_makes_are_nothing_that_its_compilation_computes_with() -> None:
    params, states = {"u": jnp.eye(300)}, {"h": jnp.zeros((1, 300))}

    def step(params: dict[str, jax.Array], states: dict[str, jax.Array], x: jax.Array) -> tuple[object, jax.Array]:
        h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["u"]))
        return {"h": h}, h

    learner = etir.compile(step, params, states, jnp.ones((1, 300)))
    picked = np.random.default_rng(0).permutation(300)
    program = jax.jit(lambda: [x[..., picked] for x in jax.tree.leaves(learner.init().traces)]).lower().compile()
    assert " gather(" in program.as_text()
