"""Sums of what weights give positions to: sites of their own, so that a mean that is taken off is followed."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt, loss
from oracles import relative_error

import etir

B, I, N, T = 3, 4, 6, 6


def centred(y: jax.Array) -> jax.Array:
    return y - y.mean(-1, keepdims=True)


def layer_norm(y: jax.Array) -> jax.Array:
    c = centred(y)
    return c * jax.lax.rsqrt((c**2).mean(-1, keepdims=True) + 1e-3)


def problem(tail: Callable[[jax.Array], jax.Array], recurrent: bool = False) -> Any:
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        y = x @ p["w"] - p["b"] + (s["h"] @ p["u"] if recurrent else 0)
        h = 0.8 * s["h"] + 0.2 * jnp.tanh(tail(y))
        return {"h": h}, h

    keys = jax.random.split(jax.random.key(0), 4)
    shapes = {"w": (I, N), "b": (N,)} | ({"u": (N, N)} if recurrent else {})
    params = {path: jax.random.normal(key, shape) for key, (path, shape) in zip(keys, shapes.items(), strict=False)}
    return step, params, {"h": jnp.full((B, N), 0.3)}, jax.random.normal(keys[3], (T, B, I))


def centred_twice(y: jax.Array) -> jax.Array:
    """The mean is written down twice, and is one."""
    return (y - y.mean(-1, keepdims=True)) * jnp.cos(y.mean(-1, keepdims=True))


@pytest.mark.parametrize(
    ("tail", "window"), [(centred, 1), (centred_twice, 1), pytest.param(centred, 4, marks=pytest.mark.slow)]
)
def test_a_mean_that_is_taken_off_is_exact(tail: Callable[[jax.Array], jax.Array], window: int):
    with jax.enable_x64(True):
        learner, found = beside_bptt(*problem(tail), window=window)
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < 1e-10
        sites = sorted((s.weight.params[0].path, s.output.type.shape) for s in learner.transition.sites)
        assert sites == [("b", (B,)), ("b", (B, N)), ("w", (B,)), ("w", (B, N))]


def test_of_a_layer_norm_the_mean_is_kept_and_the_label_says_what_is_dropped():
    with jax.enable_x64(True):
        learner, found = beside_bptt(*problem(layer_norm))
        for entry in learner.certificate:
            assert entry.label == "approximate"
            assert [str(reason) for reason in entry.reasons] == [
                "also reaches 'h' through reduce_sum (mixes positions)"
                ": its diagonal is kept, the off-diagonal part, rank one, is dropped"
            ]
        assert max(found.values()) > 1e-3


def test_of_a_layer_norm_all_of_the_mean_and_the_diagonal_of_the_rest_are_kept():
    """What crosses a step is BPTT's where the norm's Jacobian is replaced by what is kept of it."""

    def norm(y: jax.Array, mean: jax.Array) -> jax.Array:
        return (y - mean) * jax.lax.rsqrt(((y - mean) ** 2).mean() + 1e-3)

    def row(y: jax.Array, dy: jax.Array) -> jax.Array:
        rest, of_mean = jax.jacfwd(norm, (0, 1))(y, y.mean())
        return jnp.diagonal(rest) * dy + of_mean * dy.mean()

    kept = jax.custom_jvp(layer_norm)
    kept.defjvp(lambda y, dy: (layer_norm(*y), jax.vmap(row)(*y, *dy)))

    def total(p: Any) -> jax.Array:
        def body(h: jax.Array, x: jax.Array) -> Any:
            y = x @ p["w"] - p["b"]
            now = 0.8 * h + 0.2 * jnp.tanh(layer_norm(y))
            return 0.8 * h + 0.2 * jnp.tanh(kept(y)), loss(now)

        return jax.lax.scan(body, states["h"], xs)[1].sum()

    with jax.enable_x64(True):
        step, params, states, xs = problem(layer_norm)
        learner = etir.compile(step, params, states, xs[0], sites="auto")
        found, wanted = learner.grad(loss)(params, learner.init(), xs).grads, jax.grad(total)(params)
        assert max(relative_error(found[path], wanted[path]) for path in params) < 1e-12


def test_a_sum_with_a_term_that_is_no_site_keeps_the_others():
    with jax.enable_x64(True):
        learner, found = beside_bptt(*problem(centred, recurrent=True), rules={"*": "snap"})
        assert max(found.values()) < 1e-10
        learner, found = beside_bptt(*problem(centred, recurrent=True))
        assert {str(entry.label) for entry in learner.certificate} == {"approximate"}


def test_a_mean_that_every_position_takes_in_is_exact():
    with jax.enable_x64(True):
        learner, found = beside_bptt(*problem(lambda y: y.mean(-1, keepdims=True)))
        assert max(found.values()) < 1e-10
        assert sorted(s.output.type.shape for s in learner.transition.sites) == [(B,), (B,)]
