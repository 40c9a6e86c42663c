"""Learned initial states: their gradients against BPTT's by the same states, and their labels."""

import jax
import jax.numpy as jnp
import optax
import pytest
from oracles import loss, relative_error
from snippets import expected

import etir

UNITS, STEPS = 4, 7
KEYS = jax.random.split(jax.random.key(0), 7)


def element_wise(params, states, x):
    h = jax.nn.sigmoid(params["leak"]) * states["h"] + jnp.tanh(etir.matmul(x, params["W"]))
    return {"h": h, "count": states["count"] + 1}, jnp.tanh(h)


def dense(params, states, x):
    h = 0.5 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h, "count": states["count"] + 1}, jnp.tanh(h)


SHAPES = {"W": (3, UNITS), "U": (UNITS, UNITS), "leak": (UNITS,)}
PARAMS = {path: jax.random.normal(key, shape) for key, (path, shape) in zip(KEYS, SHAPES.items(), strict=False)}
ENCODER = jax.random.normal(KEYS[4], (2, UNITS))
XS, TS = jax.random.normal(KEYS[5], (STEPS, 3)), jax.random.normal(KEYS[6], (STEPS, UNITS))


def encoded(encoder):
    return {"h": jnp.tanh(jnp.ones(2) @ encoder), "count": jnp.int32(0)}


def compiled(step, **options):
    options = {"initial": "h", "window": 3, "on_truncated": "ignore"} | options
    return etir.compile(step, PARAMS, encoded(ENCODER), XS[0], **options)


def back_propagation(step, params, encoder):
    _, ys = jax.lax.scan(lambda states, x: step(params, states, x), encoded(encoder), XS)
    return loss(ys, TS)


@pytest.mark.parametrize(
    ("step", "rule", "backend"),
    [(element_wise, "auto", "xla"), (element_wise, "auto", "reference"), (dense, "rtrl", "xla")],
)
def test_an_encoder_of_the_initial_state_has_the_gradient_of_bptt(step, rule, backend):
    learner = compiled(step, rule=rule, backend=backend)
    assert learner.certificate["initial.h"].label == "exact"

    def in_one_call(params, encoder):
        return loss(learner.window(params, learner.init(params, encoded(encoder)), XS)[1], TS)

    def step_by_step(params, encoder):
        def body(carry, at):
            carry, y = learner.step(params, carry, at[0])
            return carry, loss(y, at[1])

        return jax.lax.scan(body, learner.init(params, encoded(encoder)), (XS, TS))[1].sum()

    wanted = jax.grad(back_propagation, (1, 2))(step, PARAMS, ENCODER)
    for total in (in_one_call, step_by_step) if backend == "xla" else (in_one_call,):
        found = jax.grad(total, (0, 1))(PARAMS, ENCODER)
        assert max(jax.tree.leaves(jax.tree.map(relative_error, found, wanted))) < 1e-12
    begun = learner.init(PARAMS, encoded(ENCODER))
    assert jnp.array_equal(begun.states["h"], encoded(ENCODER)["h"])
    result = learner.grad(loss)(PARAMS, begun, XS, TS)
    by_state = jax.grad(
        lambda h: loss(jax.lax.scan(lambda s, x: step(PARAMS, s, x), begun.states | {"h": h}, XS)[1], TS)
    )
    assert relative_error(result.initial["h"], by_state(begun.states["h"])) < 1e-12


def test_what_is_not_exact_is_labelled():
    learners = [compiled(dense, rule=rule) for rule in ("d_rtrl", "bptt")]
    assert [str(each.certificate["initial.h"].label) for each in learners] == ["approximate", "truncated"]
    assert "through" in str(learners[0].certificate["initial.h"].reasons[0])


def test_training_moves_the_parameters_alone():
    learner, optimizer = compiled(element_wise), optax.sgd(0.1)
    trained = learner.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), learner.init(), XS, TS)
    plain = etir.compile(element_wise, PARAMS, encoded(ENCODER), XS[0], window=3, on_truncated="ignore")
    wanted = plain.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), plain.init(), XS, TS)
    assert max(jax.tree.leaves(jax.tree.map(relative_error, trained.params, wanted.params))) < 1e-12
    assert jnp.array_equal(trained.carry.initial["h"], encoded(ENCODER)["h"])


def test_a_module_may_learn_its_initial_states():
    class Leaky(etir.Module):
        def __init__(self):
            self.w = etir.ParamState(PARAMS["W"])
            self.h = etir.HiddenState(jnp.ones(UNITS))

        def update(self, x):
            self.h.value = 0.5 * self.h.value + etir.matmul(x, self.w.value)
            return self.h.value

    learner = etir.compile(Leaky(), XS[0], initial="h")
    (found,) = learner.grad(loss)(learner.params, learner.init(), XS, TS).initial.values()
    by_state = jax.grad(lambda h: sum(loss(0.5 ** (t + 1) * h + rest[t], TS[t]) for t in range(STEPS)))
    rest = learner.window(learner.params, learner.init(None, {"h": jnp.zeros(UNITS)}), XS)[1]
    assert relative_error(found, by_state(jnp.ones(UNITS))) < 1e-12


def test_a_learner_of_the_models_own_states_has_no_first_ones():
    with pytest.raises(etir.EtirError) as refused:
        etir.D_RTRL(etir.Module(), initial="h")
    assert str(refused.value) == expected("""
        error: initial= is given to a learner that goes on from the model's own states [unknown-option]
          help: use etir.compile(model, *inputs, initial=...): its learner.init takes states to differentiate
    """)


def test_mistakes():
    with pytest.raises(etir.EtirError) as refused:
        compiled(dense, initial=["h", "count"])
    assert str(refused.value) == (
        "error: no state that carries credit matches 'count', given in initial= [initial-path]\n  help: known: h"
    )
    plain, learner = compiled(dense, initial=()), compiled(dense)
    with pytest.raises(etir.EtirError) as refused:
        learner.step(PARAMS, plain.init(), XS[0])
    assert str(refused.value) == expected("""
        error: the carry is a Carry; wanted one that holds the initial states, which are learned [argument-carry]
          help: begin with learner.init(), and hand on what each call returns
    """)
