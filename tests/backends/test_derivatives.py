"""Derivatives of the learner's own methods: right where they exist, refused or warned of where they do not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import settled
from oracles import loss, relative_error
from structures import STRUCTURES

import etir

EXACT = 1e-12
BACKENDS = pytest.mark.parametrize("backend", ["xla", "reference"])
OF = STRUCTURES["gathered"]
XS, TS, PARAMS, STATES = OF.xs, OF.ts, OF.params, OF.states
WRAPPERS = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda *args: jax.lax.scan(lambda total, _: (total + f(*args), None), 0.0, length=2)[0],
    "vmap": lambda f: lambda *args: jax.vmap(lambda _: f(*args))(jnp.arange(2)).sum(),
    "mapped": lambda f: lambda *args: jax.vmap(f)(*jax.tree.map(lambda x: jnp.stack([x, x]), args)).sum(),
}
UNDER = pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)

DRIVER = (
    "error: what learner.{} returns is differentiated, and has no derivative [driver-derivative]\n"
    "  help: jax.lax.stop_gradient what it is given or closes over; learner.step and learner.window have derivatives"
)
INITIAL = (
    "error: the states that a sequence begins with are differentiated, and no gradient by them is computed"
    " [initial-derivative]\n"
    "  help: compile with initial='*', which carries their influence; or give it jax.lax.stop_gradient(states)"
)
SECOND = (
    "error: the gradient of a learner's step or window is differentiated, and traces hold first derivatives only"
    " [second-derivative]\n"
    "  help: jax.lax.stop_gradient the parameters that the inner gradient is taken at, and what else enters its loss"
)
INPUT = (
    "warning: the gradient by input 'x' is that of each window alone; its part in later windows is left out"
    " [input-credit]\n"
    "  help: compute what should learn inside the step; jax.lax.stop_gradient the input if nothing before it should"
)


def compiled(window=1, of=OF, **options):
    return etir.compile(of.step, of.params, of.states, of.xs[0], window=window, on_truncated="ignore", **options)


def assert_same(found, wanted):
    errors = jax.tree.map(relative_error, found, wanted)
    assert max(jax.tree.leaves(errors)) < EXACT, errors


def plain(of, params, xs):
    return jax.lax.scan(lambda states, x: of.step(params, states, x), of.states, xs)


def of_both(states, ys, ts):
    """A loss of the outputs and of the last states."""
    return loss(ys, ts) + jnp.sum(jnp.abs(states["h"]) ** 2 * jnp.arange(states["h"].size))


@BACKENDS
@pytest.mark.parametrize("window", [1, 5])
@pytest.mark.parametrize(("name", "rule"), [("gathered", "d_rtrl"), ("moving_recurrence", "rtrl")])
def test_states_that_leave_a_window_have_the_gradient_of_bptt(backend, window, name, rule):
    of = STRUCTURES[name]
    learner = compiled(window, of, rule=rule, backend=backend)
    assert learner.certificate["W"].label == "exact"

    def online(params, states_only):
        carry, ys = learner.window(params, learner.init(), of.xs)
        return of_both(carry.states, 0 * ys if states_only else ys, 0 * of.ts if states_only else of.ts)

    def whole(params, states_only):
        states, ys = plain(of, params, of.xs)
        return of_both(states, 0 * ys if states_only else ys, 0 * of.ts if states_only else of.ts)

    for states_only in (False, True):
        wanted = jax.grad(whole)(of.params, states_only)
        assert_same(jax.grad(online)(of.params, states_only), wanted)
        assert all(np.any(g) for g in jax.tree.leaves(wanted))


@BACKENDS
def test_losses_of_states_between_calls_add_up_to_bptt(backend):
    learner = compiled(2, backend=backend)

    def online(params):
        carry, ys = learner.window(params, learner.init(), XS[:3])
        middle = of_both(carry.states, ys, TS[:3])
        carry, ys = learner.window(params, carry, XS[3:5])
        carry, y = learner.step(params, carry, XS[5])
        return middle + of_both(carry.states, jnp.stack([*ys, y]), TS[3:])

    def whole(params):
        middle, first = plain(OF, params, XS[:3])
        last, ys = plain(OF, params, XS)
        return of_both(middle, first, TS[:3]) + of_both(last, ys[3:], TS[3:])

    assert_same(jax.grad(online)(PARAMS), jax.grad(whole)(PARAMS))


@BACKENDS
@pytest.mark.parametrize("name", ["gathered", "moving_recurrence", "products_of_neighbours"])
def test_a_chain_of_steps_under_one_gradient_is_the_driver(backend, name):
    of = STRUCTURES[name]
    learner = compiled(1, of, backend=backend)

    def chained(params):
        def body(carry, at):
            carry, y = learner.step(params, carry, at[0])
            return carry, loss(y, at[1])

        carry, losses = jax.lax.scan(body, learner.init(), (of.xs, of.ts))
        return losses.sum(), carry

    grads, carry = jax.jit(jax.grad(chained, has_aux=True))(of.params)
    wanted = learner.grad(loss)(of.params, learner.init(), of.xs, of.ts)
    assert_same((grads, settled(learner, carry)), (wanted.grads, settled(learner, wanted.carry)))


def averaged(params, states, x):
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]))
    return {"h": h, "mean": 0.5 * states["mean"] + h, "count": states["count"] + 1}, h


@BACKENDS
@pytest.mark.parametrize("window", [1, 3, 6])
def test_a_buffer_that_enters_a_window_has_no_gradient(backend, window):
    params = {"W": XS[:3, :2]}
    states = {"h": jnp.zeros(2), "mean": jnp.zeros(2), "count": jnp.int32(0)}
    learner = etir.compile(
        averaged, params, states, XS[0], window=window, buffers=["mean"], backend=backend, on_truncated="ignore"
    )

    def online(params):
        return jnp.sum(learner.window(params, learner.init(), XS)[0].states["mean"] ** 2)

    def cut(params):
        now = states
        for t, x in enumerate(XS):
            if t % window == 0:
                now = now | {"mean": jax.lax.stop_gradient(now["mean"])}
            now, _ = averaged(params, now, x)
        return jnp.sum(now["mean"] ** 2)

    assert_same(jax.grad(online)(params), jax.grad(cut)(params))


@BACKENDS
def test_traces_that_leave_a_window_have_no_derivative(backend):
    learner = compiled(2, backend=backend)

    def traced(params):
        carry, _ = learner.window(params, learner.init(), XS)
        return sum(jnp.sum(x) for x in jax.tree.leaves(carry.traces))

    assert not np.any(jax.grad(traced)(PARAMS)["W"])


class Cell(etir.Module):
    def __init__(self):
        self.w = etir.ParamState(XS[:3, :2])
        self.h = etir.HiddenState(jnp.zeros(2))

    def update(self, x):
        self.h.value = 0.9 * self.h.value + jnp.tanh(etir.matmul(x, self.w.value))
        return self.h.value


def test_a_loss_may_read_the_states_of_a_module():
    cell = Cell()
    online = etir.D_RTRL(cell)
    online.compile_graph(XS[0])

    def rate():
        online(XS[0])
        return jnp.sum(cell.h.value**2)

    found = etir.transform.grad(rate, {"w": cell.w})()
    assert_same(found["w"], jax.grad(lambda w: jnp.sum(jnp.tanh(XS[0] @ w) ** 2))(XS[:3, :2]))


def refusal(function, *args):
    with pytest.raises(etir.EtirError) as refused:
        function(*args)
    return str(refused.value)


@UNDER
def test_the_gradient_by_initial_states_is_refused(wrap):
    learner = compiled(2)

    def total(params, states):
        return loss(learner.window(params, learner.init(params, states), XS)[1], TS)

    assert refusal(jax.grad(wrap(total), 1), PARAMS, STATES) == INITIAL
    assert refusal(jax.grad(wrap(total), (0, 1)), PARAMS, STATES) == INITIAL
    assert refusal(jax.jvp, wrap(lambda states: total(PARAMS, states)), (STATES,), (STATES,)) == INITIAL
    held = jax.grad(wrap(lambda params, states: total(params, jax.lax.stop_gradient(states))), (0, 1))
    wanted = jax.grad(wrap(lambda p: loss(plain(OF, p, XS)[1], TS)))(PARAMS)
    assert_same(held(PARAMS, STATES)[0], wanted)
    assert_same(jax.grad(wrap(total))(PARAMS, STATES), wanted)


def test_states_without_derivatives_begin_as_they_are():
    def noisy(params, states, x):
        key, now = jax.random.split(states["key"])
        h = 0.5 * states["h"] + etir.matmul(x, params["W"]) + jax.random.normal(now, (2,))
        return {"h": h, "key": key, "count": states["count"] + 1}, h

    params, states = {"W": XS[:3, :2]}, {"h": jnp.zeros(2), "key": jax.random.key(3), "count": jnp.int32(2)}
    learner = etir.compile(noisy, params, states, XS[0])

    def total(params):
        carry, y = learner.step(params, learner.init(params, states), XS[0])
        return jnp.sum(y), carry.states

    grads, after = jax.grad(total, has_aux=True)(params)
    wanted = jax.grad(lambda p: jnp.sum(noisy(p, states, XS[0])[1]))(params)
    assert_same(grads, wanted)
    assert int(after["count"]) == 3


@UNDER
def test_a_gradient_of_the_drivers_results_is_refused(wrap):
    learner = compiled(4)
    drive = learner.grad(loss)

    def losses(params, ts):
        return drive(params, learner.init(), XS, ts).losses.sum()

    assert refusal(jax.grad(wrap(losses)), PARAMS, TS) == DRIVER.format("grad")
    assert refusal(jax.grad(wrap(losses), 1), PARAMS, TS) == DRIVER.format("grad")


@BACKENDS
def test_a_gradient_through_what_a_driver_closes_over_is_refused(backend):
    learner = compiled(2, backend=backend)

    def weighted(weight):
        return learner.grad(lambda y, t: weight * loss(y, t))(PARAMS, learner.init(), XS, TS).losses.sum()

    def learnt(rate):
        optimizer = optax.sgd(rate)
        trained = learner.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), learner.init(), XS, TS)
        return trained.losses.sum()

    def trained(params):
        optimizer = optax.adam(1e-3)
        return learner.train(loss, optimizer)(params, optimizer.init(params), learner.init(), XS, TS).losses.sum()

    for under in (lambda f: f, jax.jit):
        assert refusal(jax.grad(under(weighted)), 2.0) == DRIVER.format("grad")
        assert refusal(jax.grad(under(learnt)), 1e-3) == DRIVER.format("train")
        assert refusal(jax.grad(under(trained)), PARAMS) == DRIVER.format("train")


@BACKENDS
def test_drivers_run_in_a_differentiated_function_that_nothing_of_enters(backend):
    learner = compiled(2, backend=backend)
    optimizer = optax.adam(1e-3)

    def total(scale, held):
        result = learner.grad(loss)(PARAMS, learner.init(), XS, TS)
        trained = learner.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), result.carry, XS, TS)
        inner = learner.grad(loss)(jax.lax.stop_gradient(held), learner.init(), XS, TS)
        return scale * (result.losses.sum() + trained.losses.sum() + inner.losses.sum())

    for under in (lambda f: f, jax.jit):
        assert_same(jax.grad(under(total))(2.0, PARAMS), total(1.0, PARAMS))
        assert not np.any(jax.grad(under(total), 1)(2.0, PARAMS)["W"])


@BACKENDS
@pytest.mark.parametrize("method", ["step", "window"])
def test_a_gradient_by_inputs_is_that_of_each_window_and_warned_of(backend, method):
    learner = compiled(2, backend=backend)

    def total(xs):
        if method == "window":
            return loss(learner.window(PARAMS, learner.init(), xs)[1], TS)
        _, ys = jax.lax.scan(partial(learner.step, PARAMS), learner.init(), xs)
        return loss(ys, TS)

    def cut(xs):
        now, sums = STATES, 0.0
        for t, x in enumerate(xs):
            if method == "step" or t % 2 == 0:
                now = jax.lax.stop_gradient(now)
            now, y = OF.step(PARAMS, now, x)
            sums += loss(y, TS[t])
        return sums

    with pytest.warns(etir.EtirWarning) as warned:
        found = jax.grad(total)(XS)
    assert [str(w.message) for w in warned] == [INPUT]
    assert warned[0].filename == __file__
    assert_same(found, jax.grad(cut)(XS))
    assert np.any(found)


@UNDER
def test_inputs_that_are_not_differentiated_are_not_warned_of(wrap):
    """Warnings are errors in this suite."""
    lower, upper = compiled(2), compiled(2)

    def stacked(params):
        _, below = lower.window(PARAMS, lower.init(), XS)
        _, ys = upper.window(params, upper.init(), below[:, :3])
        _, y = upper.step(params, upper.init(), below[0, :3])
        return loss(ys, TS) + loss(y, TS[0])

    assert np.any(jax.grad(wrap(stacked))(PARAMS)["W"])


@BACKENDS
@pytest.mark.parametrize("rule", ["bptt", "d_rtrl", "rtrl"])
def test_a_second_derivative_is_refused(backend, rule):
    learner = compiled(2, rule=rule, backend=backend)

    def total(params):
        return loss(learner.window(params, learner.init(), XS)[1], TS)

    for under in (lambda f: f, jax.jit):
        assert refusal(under(jax.jacrev(jax.grad(total))), PARAMS) == SECOND
        assert refusal(under(jax.grad(lambda p: jnp.sum(jax.grad(total)(p)["W"] ** 2))), PARAMS) == SECOND
    assert refusal(jax.hessian(total), PARAMS) == SECOND


@BACKENDS
def test_a_gradient_may_be_taken_in_a_function_that_is_differentiated(backend):
    learner = compiled(2, backend=backend)

    def first_order(params, scale):
        inner = jax.lax.stop_gradient(params)
        grads = jax.grad(lambda p: loss(learner.window(p, learner.init(), XS)[1], TS))(inner)
        moved = jax.tree.map(lambda p, g: p - scale * g, params, grads)
        return loss(learner.window(moved, learner.init(), XS)[1], TS)

    def wanted(params):
        return loss(plain(OF, params, XS)[1], TS)

    moved = jax.tree.map(lambda p, g: p - 0.1 * g, PARAMS, jax.grad(wanted)(PARAMS))
    assert_same(jax.grad(first_order)(PARAMS, 0.1), jax.grad(wanted)(moved))
