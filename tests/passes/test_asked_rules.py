"""Backward rules that refuse an operand to which no credit comes, and give the others theirs."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt

import etir

N, T = 3, 4


def refusing(backward: Any, forward: Any = lambda h, gain: jnp.tanh(h) * gain) -> Any:
    """A function of a value and of a gain that its rule will not be differentiated by."""

    @jax.custom_vjp
    def function(h: jax.Array, gain: jax.Array) -> jax.Array:
        return forward(h, gain)

    def ahead(h: Any, gain: Any) -> Any:
        if gain.perturbed:
            raise ValueError("not by the gain")
        return forward(h.value, gain.value), (h.value, gain.value)

    def back(kept: Any, cotangent: Any) -> Any:
        given = jnp.zeros_like(kept[0]) if type(cotangent).__name__ == "SymbolicZero" else cotangent
        return backward(*kept, given), None

    function.defvjp(ahead, back, symbolic_zeros=True)
    return function


def model(function: Any) -> Any:
    """A leaky cell behind a function of its state and of constants."""

    def step(params: Any, states: Any, x: jax.Array) -> Any:
        h = 0.9 * function(states["h"], jnp.linspace(0.5, 1.5, N) * jnp.ones(N)) + etir.matmul(x, params["w"])
        return {"h": h}, h

    xs = jax.random.normal(jax.random.key(1), (T, N))
    return step, {"w": jax.random.normal(jax.random.key(0), (N, N))}, {"h": jnp.full(N, 0.3)}, xs


def slope(h: jax.Array, gain: jax.Array, g: jax.Array) -> jax.Array:
    return g * gain * (1 - jnp.tanh(h) ** 2)


def looped(h: jax.Array, gain: jax.Array) -> jax.Array:
    """The tanh of something, in a loop that JAX has no reverse mode of."""
    start = jnp.zeros_like(h)
    trips = (gain > 0).sum()
    return jax.lax.while_loop(lambda c: c[0] < trips, lambda c: (c[0] + 1, jnp.tanh(h) * gain), (0, start))[1]


CALLED = {
    "alone": lambda function: function,
    "under jit": jax.jit,
    "in a loop": lambda function: lambda h, gain: jax.lax.scan(lambda c, _: (function(c, gain), None), h, None, 2)[0],
    "in a branch": lambda function: lambda h, gain: jax.lax.cond(h.sum() > 0, function, lambda h, gain: h, h, gain),
}


@pytest.mark.parametrize("name", CALLED)
def test_a_rule_that_refuses_a_constant_is_followed(name: str):
    with jax.enable_x64(True):
        learner, found = beside_bptt(*model(CALLED[name](refusing(slope))))
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10


def test_a_loop_in_the_function_is_no_obstacle():
    with jax.enable_x64(True):
        learner, found = beside_bptt(*model(refusing(slope, looped)))
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10


def test_a_rule_that_is_no_derivative_is_refused_all_the_same():
    step, params, states, xs = model(refusing(lambda h, gain, g: jnp.clip(g, -0.1, 0.1)))
    with pytest.raises(etir.EtirError) as refusal:
        etir.compile(step, params, states, xs[0])
    assert str(refusal.value).startswith("test_asked_rules.py:"), "where the function is called"
    assert [found.code for found in refusal.value.diagnostics] == ["nonlinear-rule"]


def test_a_rule_that_refuses_nothing_is_left_as_it_is():
    @jax.custom_vjp
    def function(h: jax.Array, gain: jax.Array) -> jax.Array:
        return jnp.tanh(h) * gain

    function.defvjp(lambda h, gain: (jnp.tanh(h) * gain, (h, gain)), lambda kept, g: (slope(*kept, g), None))
    step, params, states, xs = model(function)
    lowered = etir.lower(step, params, states, xs[0])
    assert etir.passes.ingest(lowered).region("step").body is lowered.jaxpr
