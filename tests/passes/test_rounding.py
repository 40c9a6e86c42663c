"""Rounding on the way of credit: it stands in the label, and the gradient really is BPTT's to that precision alone."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from oracles import bptt, by_path, loss, relative_error

import etir


def cast(dtype):
    return lambda v: v.astype(dtype).astype(v.dtype)


def recurrent(rounded):
    def step(p, s, x):
        v = 0.9 * rounded(s["v"]) + etir.matmul(x, p["w"])
        return {"v": v}, v

    return step


def entering(rounded):
    def step(p, s, x):
        v = 0.9 * s["v"] + rounded(0.7 * etir.matmul(x, p["w"]))
        return {"v": v}, v

    return step


def in_few_bits(rounded):
    """A product of data and a weight that are both cast to less: in reverse mode its result is, too."""

    def step(p, s, x):
        narrow = rounded(x)
        v = 0.9 * s["v"] + 0.7 * etir.matmul(narrow, p["w"].astype(narrow.dtype)).astype(s["v"].dtype)
        return {"v": v}, v

    return step


def leaving(rounded):
    def step(p, s, x):
        v = 0.9 * s["v"] + etir.matmul(x, p["w"])
        return {"v": v}, rounded(v)

    return step


def in_a_loop(rounded):
    def step(p, s, x):
        v = lax.scan(lambda c, _: (0.9 * rounded(c), None), s["v"], None, length=2)[0] + etir.matmul(x, p["w"])
        return {"v": v}, v

    return step


def of_the_weight(rounded):
    def step(p, s, x):
        v = 0.9 * s["v"] + etir.matmul(x, rounded(p["w"]))
        return {"v": v}, v

    return step


def gradient(step, rule, dtype="float64"):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"w": jax.random.normal(keys[0], (4, 3), dtype)}
    states = {"v": jnp.zeros(3, dtype)}
    xs, ts = (jax.random.normal(key, (20, n), dtype) for key, n in zip(keys[1:], (4, 3), strict=True))
    learner = etir.compile(step, params, states, xs[0], rule=rule, window=2)
    found = by_path(learner.grad(loss)(params, learner.init(), xs, ts).grads)["w"]
    return learner.certificate["w"], relative_error(found, bptt(step, params, states, (xs,), ts).grads["w"])


@pytest.mark.parametrize(
    ("make", "rounded", "name", "rule"),
    [
        (recurrent, cast(jnp.float8_e4m3fn), "float8_e4m3fn", "d_rtrl"),
        (recurrent, lambda v: lax.reduce_precision(v, 8, 3), "3 bits of mantissa", "d_rtrl"),
        (entering, cast(jnp.float16), "float16", "d_rtrl"),
        (in_few_bits, lambda x: x.astype(jnp.bfloat16), "bfloat16", "d_rtrl"),
        (in_a_loop, cast(jnp.bfloat16), "bfloat16", "rtrl"),
    ],
)
def test_rounding_before_a_state_stands_in_the_label(make, rounded, name: str, rule: str):
    label, distance = gradient(make(rounded), rule)
    assert label.label == "approximate"
    assert [str(reason) for reason in label.reasons] == [
        f"derivatives are rounded to {name} on the way to 'v', and equal BPTT's to that precision only"
    ]
    assert label.reasons[0].loc is not None
    assert 1e-9 < distance < 0.3


@pytest.mark.parametrize(
    ("make", "rounded"),
    [
        (leaving, cast(jnp.bfloat16)),
        (of_the_weight, cast(jnp.float32)),
        (recurrent, lambda v: lax.reduce_precision(v, 11, 52)),
    ],
)
def test_rounding_beside_the_states_or_without_loss_is_nothing(make, rounded):
    label, distance = gradient(make(rounded), "d_rtrl")
    assert label.label == "exact"
    assert distance < (1e-6 if make is of_the_weight else 1e-10)


def test_a_state_is_not_rounded_by_its_own_element_type():
    """What is computed more finely than it is kept is kept as finely as its user asked."""

    def step(p, s, x):
        v = 0.9 * s["v"].astype(jnp.float64) + etir.matmul(x, p["w"])
        return {"v": v.astype(jnp.float32)}, v

    label, _ = gradient(step, "d_rtrl", "float32")
    assert label.label == "exact"
