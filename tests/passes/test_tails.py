"""Norms and softmaxes between a weight and a state: the diagonal that is kept is that of the whole Jacobian."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import relative_error

import etir
from etir.rules import EProp

Tail = Callable[[jax.Array], jax.Array]
I, N, T, LEAK = 3, 40, 4, 0.8
DROPPED = ": its diagonal is kept, the off-diagonal part, rank one, is dropped"


def rms_norm(a: jax.Array) -> jax.Array:
    return a * jax.lax.rsqrt(jnp.mean(a * a, -1, keepdims=True) + 1e-2)


def layer_norm(a: jax.Array) -> jax.Array:
    return (a - a.mean(-1, keepdims=True)) / jnp.sqrt(a.var(-1, keepdims=True) + 1e-2)


def group_norm(a: jax.Array) -> jax.Array:
    return layer_norm(a.reshape(2, N // 2)).reshape(N)


TAILS: dict[str, Tail] = {
    "softmax": jax.nn.softmax,
    "log_softmax": jax.nn.log_softmax,
    "rms_norm": rms_norm,
    "layer_norm": layer_norm,
    "group_norm": group_norm,
    "standardize": jax.nn.standardize,
    "explicitly repeated": lambda a: a / jnp.broadcast_to(jnp.sum(jnp.cosh(a), keepdims=True), (N,)),
    "by a product": lambda a: a / (1 + jnp.vdot(a, a)),
    "centred by the largest": lambda a: a - a.max(),
    "two norms": lambda a: jnp.sin(layer_norm(jnp.tanh(3 * rms_norm(a)))),
}


def problem(tail: Tail) -> Any:
    """A state within a tail, and a weight whose use comes to it through the tail too."""

    def step(p: Any, s: Any, x: jax.Array) -> Any:
        h = tail(LEAK * s["h"] + jnp.tanh(etir.matmul(x, p["w"])))
        return {"h": h}, h

    keys = jax.random.split(jax.random.key(0), 3)
    params, states = {"w": jax.random.normal(keys[0], (I, N))}, {"h": jnp.zeros(N)}
    return step, params, states, jax.random.normal(keys[1], (T, I)), jax.random.normal(keys[2], (T, N))


def against(y: jax.Array, at: jax.Array) -> jax.Array:
    return jnp.vdot(y, at)


def by_hand(tail: Tail, w: jax.Array, xs: jax.Array, at: jax.Array) -> jax.Array:
    """Window 1: what each step does by dense Jacobians, and a trace on the diagonals of those."""
    h, trace, total = jnp.zeros(N), jnp.zeros((I, N)), jnp.zeros((I, N))
    for x, c in zip(xs, at, strict=True):
        a = x @ w
        inside, slope = LEAK * h + jnp.tanh(a), 1 - jnp.tanh(a) ** 2
        jacobian = jax.jacfwd(tail)(inside)
        sent = jacobian.T @ c
        total += jnp.outer(x, slope * sent) + LEAK * sent * trace
        trace = jnp.diagonal(jacobian) * (LEAK * trace + jnp.outer(x, slope))
        h = tail(inside)
    return total


def gradient(tail: Tail, **options: Any) -> Any:
    step, params, states, xs, at = problem(tail)
    learner = etir.compile(step, params, states, xs[0], **options)
    drive = learner.grad(against, reduction="sum")
    return learner, np.asarray(drive(params, learner.init(params, states), xs, at).grads["w"])


@pytest.mark.parametrize("name", TAILS)
def test_the_diagonal_that_is_kept_is_that_of_the_jacobian(name: str):
    with jax.enable_x64(True):
        _, params, _, xs, at = problem(TAILS[name])
        learner, found = gradient(TAILS[name], rule="d_rtrl")
        assert relative_error(found, by_hand(TAILS[name], params["w"], xs, at)) < 1e-12
        (entry,) = learner.certificate
        assert entry.label == "approximate"
        assert all(reason.text.endswith(DROPPED) for reason in entry.reasons)


def test_the_label_says_which_operation_and_where():
    learner, _ = gradient(rms_norm, rule="d_rtrl")
    (entry,) = learner.certificate
    assert [reason.text for reason in entry.reasons] == [
        "also reaches 'h' through reduce_sum (mixes positions)" + DROPPED,
        "recurrence of 'h' through reduce_sum (mixes positions)" + DROPPED,
    ]
    assert {reason.loc.line for reason in entry.reasons if reason.loc} == {rms_norm.__code__.co_firstlineno + 1}


def test_what_is_not_kept_is_said_to_be_dropped():
    """A norm of what the reader depends on in no other way: no trace would be on its diagonal."""

    def step(p: Any, s: Any, x: jax.Array) -> Any:
        h = 0.5 * s["h"] + etir.matmul(x, p["w"]) + jnp.sin(s["g"]).sum()
        g = 0.5 * s["g"] + etir.matmul(x, p["v"])
        return {"h": h, "g": g}, h

    params = {"w": jnp.ones((I, N)), "v": jnp.ones((I, N))}
    certificate = etir.compile(step, params, {"h": jnp.zeros(N), "g": jnp.zeros(N)}, jnp.ones(I)).certificate
    assert [r.text for r in certificate["v"].reasons] == [
        "path from 'g' to 'h' through reduce_sum (mixes positions) is dropped"
    ]


def test_the_classical_form_and_the_one_read_at_the_exit_keep_the_same():
    """Credit inside a window and at a step's exit is restricted to what the trace keeps: the sum of `<L, E>`."""
    with jax.enable_x64(True):
        found = [
            gradient(layer_norm, **options)[1]
            for options in (
                {"rule": "d_rtrl", "credit": "rule", "window": 1},
                {"rule": "d_rtrl", "credit": "rule", "window": 3, "backend": "reference"},
                {"rule": EProp(kappa=0.0)},
            )
        ]
        assert max(relative_error(each, found[0]) for each in found[1:]) < 1e-12


def test_a_masked_softmax_has_no_infinite_shift():
    with jax.enable_x64(True):
        masked = lambda a: jax.nn.softmax(jnp.where(jnp.arange(N) < 5, a, -jnp.inf))  # noqa: E731
        _, params, _, xs, at = problem(masked)
        _, found = gradient(masked, rule="d_rtrl")
        assert relative_error(found, by_hand(masked, params["w"], xs, at)) < 1e-12


def test_a_norm_may_be_rounded_before_it_is_read():
    def rounded(a: jax.Array) -> jax.Array:
        scale = jnp.mean(a * a, keepdims=True).astype(jnp.bfloat16)
        return (a.astype(jnp.bfloat16) / (1 + scale)).astype(a.dtype)

    learner, _ = gradient(rounded, rule="d_rtrl")
    assert any(reason.text.endswith(DROPPED) for reason in learner.certificate["w"].reasons)


def test_a_mean_is_kept_beside_one_that_is_not():
    """Of `mean(h + x w)` the weight's part is a product of its own, and exact; that of the state is held."""
    with jax.enable_x64(True):

        def step(p: Any, s: Any, x: jax.Array) -> Any:
            a = LEAK * s["h"] + etir.matmul(x, p["w"])
            h = a - a.mean()
            return {"h": h}, h

        learner = etir.compile(step, {"w": jnp.ones((I, N))}, {"h": jnp.zeros(N)}, jnp.ones(I))
        (entry,) = learner.certificate
        (reason,) = entry.reasons
        assert reason.text == "recurrence of 'h' through reduce_sum (mixes positions)" + DROPPED
        assert reason.loc is not None
