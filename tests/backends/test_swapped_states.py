"""A carry whose states are not those that its traces belong to, told or known by numbers; and how to begin anew."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from oracles import loss, relative_error
from snippets import expected

import etir
from etir.rules import Dni, EProp

KEYS = iter(jax.random.split(jax.random.key(0), 4))
PARAMS = {"W": jax.random.normal(next(KEYS), (3, 2)), "U": 0.3 * jax.random.normal(next(KEYS), (2, 2))}
XS, TS = jax.random.normal(next(KEYS), (4, 3)), jax.random.normal(next(KEYS), (4, 2))
OTHER = {"h": jnp.array([0.5, -0.25]), "count": jnp.int32(7)}


def step(params: Any, states: Any, x: Any) -> Any:
    h = 0.9 * states["h"] + jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
    return {"h": h, "count": states["count"] + 1}, h


def compiled(rule: Any = "d_rtrl", **options: Any) -> Any:
    states = {"h": jnp.zeros(2), "count": jnp.int32(0)}
    return etir.compile(step, PARAMS, states, XS[0], rule=rule, window=2, on_truncated="ignore", **options)


def begun(learner: Any) -> Any:
    return learner.init(key=jax.random.key(1))


def after(learner: Any) -> Any:
    return learner.grad(loss)(PARAMS, begun(learner), XS, TS).carry


def changed(carry: Any, by: float = 1.0) -> Any:
    """With other states, past the carry's own ways: as `eqx.tree_at` does."""
    return type(carry)(**carry._asdict() | {"states": carry.states | {"h": carry.states["h"] + by}})


def of_step(learner: Any, carry: Any) -> Any:
    return jax.grad(lambda params: loss(learner.step(params, carry, XS[0])[1], TS[0]))(PARAMS)


def of_window(learner: Any, carry: Any) -> Any:
    return jax.grad(lambda params: loss(learner.window(params, carry, XS)[1], TS))(PARAMS)


def of_grad(learner: Any, carry: Any) -> Any:
    return learner.grad(loss)(PARAMS, carry, XS, TS).grads


def of_mean(learner: Any, carry: Any) -> Any:
    return learner.grad(loss, reduction="mean")(PARAMS, carry, XS, TS).grads


def of_pieces(learner: Any, carry: Any) -> Any:
    drive = learner.grad(loss, resumable=True)
    first = drive(PARAMS, carry, XS[:1], TS[:1])
    return drive(PARAMS, first.carry, XS[1:], TS[1:], ends=True).grads


def of_training(learner: Any, carry: Any) -> Any:
    optimizer = optax.sgd(0.1)
    return learner.train(loss, optimizer)(PARAMS, optimizer.init(PARAMS), carry, XS, TS).params


def of_a_later_step(learner: Any, carry: Any) -> Any:
    return of_step(learner, learner.step(PARAMS, carry, XS[0])[0])


def of_scan(learner: Any, carry: Any) -> Any:
    def total(params: Any) -> Any:
        return loss(jax.lax.scan(lambda now, x: learner.step(params, now, x), carry, XS)[1], TS)

    return jax.jit(jax.grad(total))(PARAMS)


CALLS = (of_step, of_window, of_grad, of_mean, of_pieces, of_training, of_a_later_step, of_scan)


@pytest.fixture(scope="module")
def learner() -> Any:
    return compiled()


@pytest.fixture(scope="module")
def carry(learner: Any) -> Any:
    return after(learner)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_gradient_with_traces_of_other_states_is_nan(learner: Any, carry: Any, call: Any):
    assert all(np.all(np.isnan(g)) for g in call(learner, changed(carry)).values())
    assert all(np.all(np.isfinite(g)) for g in call(learner, changed(carry, by=0.0)).values())


@pytest.mark.parametrize("rule", ["rtrl", "uoro", EProp(feedback="random")], ids=str)
def test_and_so_under_every_rule_with_traces_of_states(rule: Any):
    learner = compiled(rule)
    assert all(np.all(np.isnan(g)) for g in of_grad(learner, changed(after(learner))).values())


@pytest.mark.parametrize("rule", ["bptt", Dni(learning_rate=0.1)], ids=str)
def test_where_no_trace_is_of_states_any_states_will_do(rule: Any):
    learner = compiled(rule)
    carry = after(learner)
    found = of_grad(learner, changed(carry))
    wanted = of_grad(learner, learner.reset(carry, changed(carry).states))
    assert all(np.array_equal(found[path], wanted[path]) for path in wanted)


def test_a_carry_says_how_to_begin_anew(carry: Any):
    for given in (carry, compiled(initial="h").init()):
        with pytest.raises(etir.EtirError) as refused:
            given._replace(states=OTHER)
        assert str(refused.value) == expected("""
            error: the carry's states are replaced, and its traces belong to those that it has [stale-traces]
              help: begin another sequence with learner.reset(carry, states); where these traces are meant, say so: carry._replace(states=states, traces=carry.traces)
        """)  # noqa: E501
    bare = compiled("bptt").init()
    assert int(bare._replace(states=OTHER).states["count"]) == 7


def test_a_sequence_begins_anew(learner: Any, carry: Any):
    """As with a carry of its own; and under `jax.jit`, and in arrays of its own."""
    for reset in (learner.reset, jax.jit(learner.reset)):
        for given in ((), (OTHER,)):
            found, wanted = reset(carry, *given), learner.init(None, *given)
            assert jax.tree.structure(found) == jax.tree.structure(wanted)
            assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(wanted)))
    jax.jit(learner.step, donate_argnums=1)(PARAMS, learner.reset(carry, OTHER), XS[0])
    assert not OTHER["h"].is_deleted()


@pytest.mark.parametrize("rule", ["uoro", EProp(feedback="random"), Dni(learning_rate=0.1)], ids=str)
def test_what_is_of_no_sequence_goes_on(rule: Any):
    """A key goes on, so that another sequence draws other signs; feedback and predictors stay."""
    learner = compiled(rule)
    carry = after(learner)
    pairs = zip(learner.traces(carry), learner.traces(learner.reset(carry)), strict=True)
    kept = [(before, now) for before, now in pairs if np.any(now)]
    assert kept
    assert all(map(np.array_equal, *zip(*kept, strict=True)))


def test_learned_states_begin_anew_and_are_differentiated():
    learner = compiled(initial="h", rule="rtrl")

    def total(h: Any, begin: Any) -> Any:
        return loss(learner.window(PARAMS, begin(OTHER | {"h": h}), XS)[1], TS)

    carry = after(learner)
    found, wanted = (
        jax.grad(total)(OTHER["h"], begin)
        for begin in (lambda states: learner.reset(carry, states), lambda states: learner.init(None, states))
    )
    assert np.any(wanted)
    assert relative_error(found, wanted) == 0


def test_what_cannot_begin_anew_is_refused(learner: Any, carry: Any):
    inside = learner.grad(loss, resumable=True)(PARAMS, begun(learner), XS[:1], TS[:1]).carry
    nan = OTHER | {"h": jnp.full(2, jnp.nan)}
    for call, said in (
        (lambda: learner.reset(inside), r"the carry is inside a window .*\[carry-unfinished\]"),
        (lambda: learner.reset(carry, nan), r"state 'h' is not finite: 2 NaN of 2 elements \[not-finite\]"),
        (lambda: jax.grad(lambda h: learner.reset(carry, OTHER | {"h": h}).states["h"].sum())(OTHER["h"]),
         r"the states that a sequence begins with are differentiated.*\[initial-derivative\]"),
    ):  # fmt: skip
        with pytest.raises(etir.EtirError, match=said):
            call()
