"""The learner's methods: what they return, and under which transformations they work."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import settled
from oracles import bptt, by_path, loss, relative_error
from structures import STRUCTURES, Structure

import etir
from etir import zoo
from etir.backends import Carry

EXACT = 1e-12
BACKENDS = pytest.mark.parametrize("backend", ["xla", "reference"])
OF: Structure = STRUCTURES["gathered"]


def compiled(window: int = 2, of: Structure = OF, **options):
    return etir.compile(of.step, of.params, of.states, of.xs[0], window=window, on_truncated="ignore", **options)


def far_apart(found, wanted) -> bool:
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    errors = jax.tree.leaves(jax.tree.map(relative_error, found, wanted))
    return not max(errors, default=0.0) < EXACT


@BACKENDS
def test_differentiated_steps_are_the_driver_with_a_window_of_one(backend: str):
    learner = compiled(1, STRUCTURES["moving_recurrence"], backend=backend)
    of = STRUCTURES["moving_recurrence"]

    @jax.jit
    def by_steps(params, xs, ts):
        def body(carry, at):
            x, t = at

            def one(params):
                after, y = learner.step(params, carry, x)
                return loss(y, t), after

            grads, after = jax.grad(one, has_aux=True)(params)
            return after, grads

        carry, grads = jax.lax.scan(body, learner.init(), (xs, ts))
        return jax.tree.map(lambda g: g.sum(0), grads), settled(learner, carry)

    result = learner.grad(loss)(of.params, learner.init(), of.xs, of.ts)
    assert not far_apart(by_steps(of.params, of.xs, of.ts), (result.grads, settled(learner, result.carry)))


@BACKENDS
@pytest.mark.parametrize("window", [4, 6, 50])
def test_any_length_is_learnt(backend: str, window: int):
    learner = compiled(window, backend=backend)
    result = learner.grad(loss)(OF.params, learner.init(), OF.xs, OF.ts)
    wanted = bptt(OF.step, OF.params, OF.states, (OF.xs,), OF.ts)
    carry, ys = learner.window(OF.params, learner.init(), OF.xs)
    assert not far_apart((by_path(result.grads), result.losses), (wanted.grads, wanted.losses))
    assert not far_apart(settled(learner, carry), settled(learner, result.carry))
    assert not far_apart(result.carry.states, wanted.states)
    assert ys.shape == OF.ts.shape


def test_a_sequence_begins_where_it_is_told():
    learner = compiled()
    states = {"h": jnp.arange(5.0)}
    carry = learner.init(OF.params, states)
    result = learner.grad(loss)(OF.params, carry, OF.xs, OF.ts)
    assert not far_apart(carry.states, states)
    assert not far_apart(by_path(result.grads), bptt(OF.step, OF.params, states, (OF.xs,), OF.ts).grads)


def test_the_mean_is_over_steps():
    learner = compiled()
    by = {kind: learner.grad(loss, reduction=kind)(OF.params, learner.init(), OF.xs, OF.ts) for kind in ("sum", "mean")}
    assert not far_apart(jax.tree.map(lambda g: 6 * g, by["mean"].grads), by["sum"].grads)
    assert not far_apart(by["mean"].losses, by["sum"].losses)


@BACKENDS
def test_rows_learn_under_vmap(backend: str):
    learner = compiled(backend=backend)
    many = jnp.stack([OF.xs, 2 * OF.xs])
    carry = jax.vmap(lambda _: learner.init())(jnp.arange(2))
    drive = learner.grad(loss)
    found = jax.vmap(lambda c, xs: drive(OF.params, c, xs, OF.ts))(carry, many)
    rows = [drive(OF.params, learner.init(), xs, OF.ts) for xs in many]
    assert not far_apart(found, jax.tree.map(lambda *parts: jnp.stack(parts), *rows))


def test_a_carry_may_be_donated():
    learner = compiled()
    step = jax.jit(learner.step, donate_argnums=1)
    first = learner.init()
    second, y = step(OF.params, first, OF.xs[0])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(first))
    again, y_again = step(OF.params, learner.init(), OF.xs[0])
    assert not far_apart((again, y_again), (second, y))


def test_a_carry_may_have_lost_its_class():
    learner = compiled()
    begun = learner.init()
    for given in (tuple(begun), tuple(begun)[:2]):
        carry, _ = learner.step(OF.params, given, OF.xs[0])
        assert isinstance(carry, Carry)


def pair_step(params, states, drive, gate):
    h = 0.5 * states + drive["a"] * jnp.tanh(etir.matmul(drive["b"], params["W"])) * gate
    return h, {"h": h, "norm": jnp.sum(h)}


def test_inputs_outputs_and_targets_are_any_trees():
    params, states = {"W": OF.params["W"]}, jnp.ones(4)
    drive = {"a": jnp.arange(6.0), "b": OF.xs}
    gate = jnp.linspace(0.0, 1.0, 6)
    targets = {"y": jnp.ones((6, 4))}, jnp.arange(6.0)
    learner = etir.compile(pair_step, params, states, jax.tree.map(lambda a: a[0], drive), gate[0], window=4)

    def criterion(y, target, weight):
        error = y["h"] - target["y"]
        return weight * jnp.sum(error**2), {"error": error, "norm": y["norm"], "scale": 2.0, "count": 3}

    def total(params):
        def body(states, at):
            x, t = at
            states, y = pair_step(params, states, *x)
            return states, criterion(y, *t)

        losses, aux = jax.lax.scan(body, states, ((drive, gate), targets))[1]
        return losses.sum(), (losses, aux)

    result = learner.grad(criterion)(params, learner.init(), (drive, gate), *targets)
    grads, (losses, aux) = jax.grad(total, has_aux=True)(params)
    assert not far_apart((result.grads, result.losses, result.aux), (grads, losses, aux))
    carry, y = learner.step(params, learner.init(), jax.tree.map(lambda a: a[0], drive), gate[0])
    windowed, ys = learner.window(params, learner.init(), (drive, gate))
    assert not far_apart(y, jax.tree.map(lambda a: a[0], ys))
    assert not far_apart(settled(learner, windowed), settled(learner, result.carry))
    assert jax.tree.structure(carry) == jax.tree.structure(windowed)


@BACKENDS
def test_a_step_may_have_no_inputs(backend: str):
    def wander(params, states):
        h = 0.5 * states + etir.scale(jnp.tanh(states), params)
        return h, h

    params, states, ts = jnp.arange(4.0), jnp.ones(4), OF.ts[:, :4]

    def total(params):
        return loss(jax.lax.scan(lambda s, _: wander(params, s), states, None, length=6)[1], ts)

    learner = etir.compile(wander, params, states, window=4, backend=backend)
    result = learner.grad(loss)(params, learner.init(), (), ts)
    assert not far_apart(result.grads, jax.grad(total)(params))
    carry = learner.init()
    for _ in ts:
        carry, _ = learner.step(params, carry)
    assert not far_apart(settled(learner, carry), settled(learner, result.carry))


def test_integer_parameters_are_carried_along():
    def counted(params, states, x):
        h = 0.5 * states + jnp.tanh(etir.matmul(x, params["W"])) / params["count"]
        return h, h

    params = {"W": OF.params["W"], "count": jnp.int32(3)}
    learner = etir.compile(counted, params, jnp.zeros(4), OF.xs[0], window=2)
    assert [label.path for label in learner.certificate] == ["W"]
    grads = learner.grad(loss, reduction="mean")(params, learner.init(), OF.xs, OF.ts[:, :4]).grads
    assert (grads["count"].dtype, int(grads["count"])) == (jnp.int32, 0)
    assert np.any(grads["W"])


def test_the_same_loss_is_compiled_once():
    learner, traced = compiled(), []

    def counted(y, t):
        traced.append(y)
        return loss(y, t)

    for _ in range(3):
        learner.grad(counted)(OF.params, learner.init(), OF.xs, OF.ts)
    once = len(traced)
    learner.grad(counted, reduction="mean")(OF.params, learner.init(), OF.xs, OF.ts)
    assert len(traced) == 2 * once


def test_a_loss_need_not_be_hashable():
    class Weighted(dict):
        def __call__(self, y, t):
            return self["weight"] * loss(y, t)

    learner = compiled()
    drive = learner.grad(Weighted(weight=2.0))(OF.params, learner.init(), OF.xs, OF.ts)
    assert not far_apart(drive.losses, 2 * learner.grad(loss)(OF.params, learner.init(), OF.xs, OF.ts).losses)


def test_a_learner_may_be_compiled_for_shapes():
    shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (OF.params, OF.states, OF.xs[0]))
    learner = etir.compile(OF.step, *shapes)
    assert not far_apart(learner.init(states=OF.states), compiled().init())
    with pytest.raises(etir.EtirError) as refused:
        learner.init()
    assert str(refused.value) == (
        "error: the learner was compiled for shapes alone, so it knows no initial states [states-missing]\n"
        "  help: give them: learner.init(params, states)"
    )


def test_what_a_learner_says_of_itself():
    learner = compiled(3, backend="reference")
    assert repr(learner) == "Learner('gathered', rule='d_rtrl', window=3, backend='reference')"
    assert (learner.backend, learner.window_size) == ("reference", 3)
    assert learner.certificate["W"].label == "exact"
    assert learner.cost().held == 2 * 12 * 8


def test_a_cost_leaves_out_traces_that_follow_from_others():
    model = zoo.case("lstm").build(jax.random.key(0))
    learner = etir.compile(model.step, model.params, model.states, *model.inputs)
    *traces, _ = learner.init().traces
    assert learner.cost().held == sum(x.nbytes for x in jax.tree.leaves(traces)) < learner.transition.plan.cost().held
