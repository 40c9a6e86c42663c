"""`learner.predict`: the model alone, and what is said where it cannot be run."""

import jax
import jax.numpy as jnp
import pytest
from oracles import bptt, by_path, loss, relative_error
from structures import STRUCTURES

import etir

EXACT = 1e-12
OF = STRUCTURES["moving_recurrence"]


def wander(params, states):
    h = 0.5 * states + etir.scale(jnp.tanh(states), params)
    return h, h


LEARNER = etir.compile(OF.step, OF.params, OF.states, OF.xs[0], window=2, on_truncated="ignore")
STILL = etir.compile(wander, jnp.arange(4.0), jnp.ones(4))


def test_it_is_the_model_and_its_gradient_is_bptt():
    @jax.grad
    def total(params):
        return loss(LEARNER.predict(params, OF.states, OF.xs)[1], OF.ts)

    wanted = bptt(OF.step, OF.params, OF.states, (OF.xs,), OF.ts)
    found = by_path(total(OF.params))
    assert max(relative_error(found[path], grad) for path, grad in wanted.grads.items()) < EXACT
    states, _ = LEARNER.predict(xs=OF.xs)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, states, wanted.states))) < EXACT


def test_states_and_inputs_have_derivatives_too():
    def total(run, states, xs):
        return loss(run(states, xs), OF.ts)

    def plain(states, xs):
        return jax.lax.scan(lambda s, x: OF.step(OF.params, s, x), states, xs)[1]

    def predicted(states, xs):
        return LEARNER.predict(OF.params, states, xs)[1]

    found, wanted = (jax.grad(total, (1, 2))(run, OF.states, OF.xs) for run in (predicted, plain))
    assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < EXACT


def test_a_step_without_inputs_runs_as_long_as_it_is_told():
    states, ys = STILL.predict(steps=3)
    wanted = jax.lax.scan(lambda s, _: wander(jnp.arange(4.0), s), jnp.ones(4), None, length=3)
    assert relative_error(ys, wanted[1]) < EXACT
    assert relative_error(states, wanted[0]) < EXACT


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: LEARNER.predict(OF.params, LEARNER.init(), OF.xs),
            """error: the states have another structure than at compile [argument-structure]
  note: found states.h, traces.0, traces.1.0, traces.1.1, traces.1.2, cut.h
  note: wanted h
  help: give the carry's states: carry.states""",
        ),
        (
            lambda: LEARNER.predict(OF.params, OF.states, OF.xs[0]),
            """error: 'x' is f64[3]; wanted f64[3] with a leading time axis [argument-type]
  help: stack the steps of a sequence; learner.step takes a single one""",
        ),
        (
            lambda: LEARNER.predict(OF.params, OF.states, OF.xs, steps=4),
            """error: inputs and targets have different lengths [sequence-length]
  note: input 'x' has 6 steps
  note: steps=4 has 4 steps
  help: every leaf of xs and of the targets needs the same leading time axis""",
        ),
        (
            lambda: STILL.predict(),
            """error: the step takes no inputs, so nothing says how long the sequence is [sequence-length]
  help: pass steps=...""",
        ),
        (lambda: STILL.predict(steps=0), "error: steps=0; wanted a positive number of steps [sequence-length]"),
    ],
)
@pytest.mark.each
def test_what_is_said(call, text: str):
    with pytest.raises(etir.EtirError) as refused:
        call()
    assert str(refused.value) == text
