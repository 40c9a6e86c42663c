"""A carry that a user has put something differentiated into: refused, wherever it enters a call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import loss, relative_error
from snippets import expected

import etir

KEYS = jax.random.split(jax.random.key(0), 3)
PARAMS = {"W": jax.random.normal(KEYS[0], (3, 2))}
XS, TS = jax.random.normal(KEYS[1], (6, 3)), jax.random.normal(KEYS[2], (6, 2))
OWN = jnp.array([0.5, -0.25])
BACKENDS = pytest.mark.parametrize("backend", ["xla", "reference"])


def step(params, states, x):
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]))
    return {"h": h, "count": states["count"] + 1}, h


def compiled(**options):
    return etir.compile(step, PARAMS, {"h": jnp.zeros(2), "count": jnp.int32(0)}, XS[0], window=2, **options)


def scaled(own, x):
    return x * own[0] if jnp.issubdtype(x.dtype, jnp.inexact) else x


def with_states(carry, own):
    return carry._replace(states=carry.states | own, traces=carry.traces)


EDITS = {
    "replaced": lambda carry, own: with_states(carry, {"h": own}),
    "scaled": lambda carry, own: with_states(carry, {"h": own * carry.states["h"]}),
    "built": lambda carry, own: etir.Carry(carry.states | {"h": own}, carry.traces),
    "a_plain_pair": lambda carry, own: (carry.states | {"h": own}, carry.traces),
    "mapped": lambda carry, own: jax.tree.map(lambda x: scaled(own, x), carry),
    "traces": lambda carry, own: carry._replace(traces=jax.tree.map(lambda x: scaled(own, x), carry.traces)),
}
REFUSED = expected("""
    error: the carry given to learner.{} is differentiated, and no gradient by it is computed [carry-derivative]
      help: compile with initial='*' and put the states into learner.init, which carries their influence; or put jax.lax.stop_gradient(states) into the carry
""")  # noqa: E501


def one_step(learner, carry):
    carry, y = learner.step(PARAMS, carry, XS[1])
    return loss(y, TS[1])


def one_window(learner, carry):
    return loss(learner.window(PARAMS, carry, XS)[1], TS)


def steps_in_a_scan(learner, carry):
    carry = etir.Carry(*carry)
    return loss(jax.lax.scan(lambda now, x: learner.step(PARAMS, now, x), carry, XS)[1], TS)


CALLS = {"step": one_step, "window": one_window, "scan": steps_in_a_scan}


def refusal(function, *args):
    with pytest.raises(etir.EtirError) as refused:
        function(*args)
    return str(refused.value)


@BACKENDS
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.each
def test_an_edited_carry_is_refused(backend, call, edit):
    learner = compiled(backend=backend)
    begun, _ = learner.step(PARAMS, learner.init(), XS[0])

    def total(own):
        return CALLS[call](learner, EDITS[edit](begun, own))

    wanted = REFUSED.format("window" if call == "window" else "step")
    for under in (lambda f: f, jax.jit, jax.checkpoint):
        assert refusal(jax.grad(under(total)), OWN) == wanted
    assert np.isfinite(total(OWN))


def test_a_carry_is_edited_between_steps_under_one_gradient():
    learner = compiled()

    def chained(own, params, edit):
        def body(now, x):
            return learner.step(params, edit(now, own), x)

        return loss(jax.lax.scan(body, learner.init(), XS)[1], TS)

    assert refusal(jax.grad(chained), OWN, PARAMS, EDITS["replaced"]) == REFUSED.format("step")
    assert refusal(jax.grad(chained, 1), OWN, PARAMS, EDITS["scaled"]) == REFUSED.format("step")
    held = jax.grad(chained, (0, 1))(OWN, PARAMS, lambda now, own: with_states(now, {"h": jax.lax.stop_gradient(own)}))
    assert not np.any(held[0])
    assert np.any(held[1]["W"])


@BACKENDS
def test_a_carry_may_be_chosen_whole(backend):
    """As a sequence begins anew: states, traces and what tells whose states they are all come from one carry."""
    learner = compiled(backend=backend)
    done = jnp.array([False, False, True, False, True, False])

    def online(params):
        def body(now, at):
            x, again, t = at
            now = jax.tree.map(lambda a, b: jnp.where(again, a, b), learner.init(), now)
            now, y = learner.step(params, now, x)
            return now, loss(y, t) + jnp.sum(now.states["h"] ** 2)

        return jax.lax.scan(body, learner.init(), (XS, done, TS))[1].sum()

    def plain(params):
        def body(h, at):
            x, again, t = at
            states, y = step(params, {"h": jnp.where(again, 0.0, h), "count": 0}, x)
            return states["h"], loss(y, t) + jnp.sum(y**2)

        return jax.lax.scan(body, jnp.zeros(2), (XS, done, TS))[1].sum()

    assert relative_error(jax.grad(online)(PARAMS)["W"], jax.grad(plain)(PARAMS)["W"]) < 1e-12


def test_a_leaf_that_is_changed_alone_is_known_by_its_numbers():
    learner = compiled()

    def total(own, offset):
        carry, _ = learner.step(PARAMS, learner.init(), XS[0])
        leaves, structure = jax.tree.flatten(carry)
        (place,) = [k for k, x in enumerate(leaves) if x is carry.states["h"]]
        leaves[place] = leaves[place] + offset * own
        return one_step(learner, jax.tree.unflatten(structure, leaves))

    assert np.all(np.isnan(jax.grad(total)(OWN, 1.0)))
    assert np.isfinite(total(OWN, 1.0))


def test_the_carry_of_learned_initial_states_is_refused_too():
    learner = compiled(initial="h")

    def edited(own):
        carry = learner.init()
        return one_window(learner, with_states(carry, {"h": own}))

    def begun(own):
        return one_window(learner, learner.init(None, learner.states | {"h": own}))

    assert refusal(jax.grad(edited), OWN) == REFUSED.format("window")
    assert np.any(jax.grad(begun)(OWN))


def test_a_carry_of_ones_own_may_be_donated():
    learner = compiled()
    carry = etir.Carry({"h": OWN, "count": jnp.int32(3)}, learner.init().traces)
    taken, _ = jax.jit(learner.step, donate_argnums=1)(PARAMS, carry, XS[0])
    assert int(taken.states["count"]) == 4
    assert carry.cut["h"].is_deleted()
    again = with_states(taken, {"count": jnp.int32(0)})
    assert int(jax.jit(learner.step, donate_argnums=1)(PARAMS, again, XS[1])[0].states["count"]) == 1


def test_a_module_whose_state_is_written_between_calls_has_no_gradient_by_it():
    class Leaky(etir.Module):
        def __init__(self):
            self.w = etir.ParamState(PARAMS["W"])
            self.h = etir.HiddenState(jnp.zeros(2))
            self.scale = etir.ParamState(jnp.array(2.0))

        def update(self, x):
            self.h.value = 0.9 * self.h.value + jnp.tanh(etir.matmul(x, self.w.value))
            return self.h.value * self.scale.value

    cell = Leaky()
    online = etir.D_RTRL(cell, on_truncated="ignore")
    online.compile_graph(XS[0])

    def total(edited):
        online(XS[0])
        if edited:
            cell.h.value = cell.scale.value * cell.h.value
        return loss(online(XS[1]), TS[1])

    found = etir.transform.grad(lambda: total(False), {"w": cell.w, "scale": cell.scale})()
    assert all(np.all(np.isfinite(g)) and np.any(g) for g in found.values())
    found = etir.transform.grad(lambda: total(True), {"scale": cell.scale})()
    assert np.isnan(found["scale"])
