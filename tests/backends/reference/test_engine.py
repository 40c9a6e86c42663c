"""The reference backend by itself: against BPTT, and its traces against the derivatives that they stand for."""

import jax
import jax.numpy as jnp
import pytest
from oracles import bptt, by_path, loss, relative_error
from structures import STRUCTURES

import etir
from etir.backends.reference import Reference
from etir.ir.plan import Contract, Placement


def compiled(name: str, rule: str, window: int, **options):
    of = STRUCTURES[name]
    return etir.compile(
        of.step, of.params, of.states, of.xs[0], rule=rule, window=window, backend="reference", on_truncated="ignore",
        **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "rule", "window"),
    [
        ("site_and_neighbour", "d_rtrl", 2),
        ("gathered", "d_rtrl", 5),
        ("current_to_voltage", "d_rtrl", 1),
        ("complex_scale", "d_rtrl", 2),
        ("complex_state_of_real_site", "rtrl", 2),
        ("moving_recurrence", "rtrl", 5),
        ("two_maps", "rtrl", 1),
    ],
)
def test_what_is_labelled_exact_is_back_propagation(name: str, rule: str, window: int):
    of = STRUCTURES[name]
    learner = compiled(name, rule, window)
    found = by_path(learner.grad(loss)(of.params, learner.init(), of.xs, of.ts).grads)
    wanted = bptt(of.step, of.params, of.states, (of.xs,), of.ts).grads
    exact = [path for path in wanted if learner.certificate[path].label == "exact"]
    assert exact
    assert {path: relative_error(found[path], wanted[path]) < 1e-12 for path in exact} == dict.fromkeys(exact, True)


@pytest.mark.parametrize(("name", "rule"), [("pooled", "d_rtrl"), ("products_of_neighbours", "rtrl")])
def test_a_trace_is_the_derivative_of_the_state(name: str, rule: str):
    of = STRUCTURES[name]
    learner = compiled(name, rule, 2)
    carry, _ = learner.window(of.params, learner.init(), of.xs)

    def final(params):
        return jax.lax.scan(lambda s, x: (of.step(params, s, x)[0], None), of.states, of.xs)[0]["h"]

    by_weight = jax.jacrev(final)(of.params)["W"]  # [state positions, inputs, outputs]
    (trace,) = learner.traces(carry)
    read = next(op for op in learner.transition.plan.at_window if isinstance(op, Contract))
    positions = Placement(read.association, read.reach).positions.T  # [slots, outputs]
    wanted = jnp.where(positions[:, None] >= 0, by_weight[positions, :, jnp.arange(len(of.params["W"][0]))].mT, 0)
    assert relative_error(trace, wanted.reshape(trace.shape)) < 1e-12
    # What the slots leave out, the states that an output never reaches, has no derivative.
    assert relative_error(jnp.abs(trace).sum(), jnp.abs(by_weight).sum()) < 1e-12


def test_only_diagonals_of_the_jacobian_are_kept():
    """One place further at every step: a diagonal forgets what moved, so the trace is the last step's factor."""
    of = STRUCTURES["moving_recurrence"]

    def moved(params, states, x):
        h = 0.5 * jnp.roll(states["h"], 1) + etir.matmul(x, params["W"])
        return {"h": h}, h

    learner = etir.compile(moved, of.params, of.states, of.xs[0], backend="reference", window=3)
    carry, _ = learner.window(of.params, learner.init(), of.xs)
    last = jnp.broadcast_to(of.xs[-1][:, None], (3, 4))
    assert relative_error(carry.traces[0], last) < 1e-12


def test_inputs_get_their_gradients():
    of = STRUCTURES["gathered"]
    learner = compiled("gathered", "d_rtrl", 2)

    def total(xs, window):
        return loss(window(xs), of.ts[:2])

    with pytest.warns(etir.EtirWarning, match="input-credit"):
        found = jax.grad(total)(of.xs[:2], lambda xs: learner.window(of.params, learner.init(), xs)[1])
    wanted = jax.grad(total)(
        of.xs[:2], lambda xs: jax.lax.scan(lambda s, x: of.step(of.params, s, x), of.states, xs)[1]
    )
    assert relative_error(found, wanted) < 1e-12


def test_it_overrides_nothing():
    """So whatever an operation means, this backend does."""
    of = STRUCTURES["gathered"]
    planned = etir.plan(etir.analyse(etir.lower(of.step, of.params, of.states, of.xs[0])))
    assert (Reference().overrides(planned), Reference().kernels(planned)) == ({}, ())
    assert (Reference.by_sites, Reference.folds) == (False, False)
