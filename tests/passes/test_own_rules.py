"""Products with weights in functions that have a derivative rule of their own: sites outside, and nothing else."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from beside_bptt import beside_bptt

import etir

B, N, T = 3, 4, 5
EXACT = 1e-10


@jax.custom_vjp
def spike(w: jax.Array, b: jax.Array, h: jax.Array, x: jax.Array) -> jax.Array:
    """A layer whose rule, written by hand, is not the derivative of what it computes."""
    return (0.8 * h + x @ w + b > 0).astype(x.dtype)


def _forward(w: jax.Array, b: jax.Array, h: jax.Array, x: jax.Array) -> Any:
    v = 0.8 * h + x @ w + b
    return (v > 0).astype(x.dtype), (w, x, v)


def _backward(kept: Any, bar: jax.Array) -> Any:
    w, x, v = kept
    d = bar / (1 + v * v)
    return x.T @ d, d.sum(0), 0.8 * d, d @ w.T


spike.defvjp(_forward, _backward)


@jax.custom_jvp
def counted(w: jax.Array, h: jax.Array, x: jax.Array, k: jax.Array) -> Any:
    """Three results, one of them an integer."""
    return 0.5 * h + jnp.tanh(etir.matmul(x, w)) * k, k + 1, jnp.sin(x @ w)


@counted.defjvp
def _counted(primals: Any, tangents: Any) -> Any:
    w, h, x, k = primals
    z, dz = x @ w, tangents[2] @ w + x @ tangents[0]
    found = counted(w, h, x, k)
    nothing = jnp.zeros(jnp.shape(k), jax.dtypes.float0)
    return found, (0.5 * tangents[1] + 1.5 * dz * k / (1 + z * z), nothing, jnp.cos(z) * dz)


def ruled(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    inner = jax.custom_vjp(function)
    inner.defvjp(lambda *of: jax.vjp(function, *of), lambda pull, bar: pull(bar))
    return inner


layer = ruled(lambda w, b, h, x: 0.8 * h + 0.2 * jnp.tanh(x @ w + b))
two_layers = ruled(lambda w, b, u, h, x: 0.8 * h + 0.2 * jnp.tanh(jnp.tanh(x @ w) @ u + b))
recurrent = ruled(lambda w, u, h, x: 0.8 * h + 0.2 * jnp.tanh(x @ w + h @ u))
beside = ruled(lambda w, b, h, x: b * h + 0.2 * jnp.tanh(x @ w) * jnp.sin(b) + w.sum() * 0.1)
convolved = ruled(lambda w, h, x: 0.8 * h + 0.2 * jnp.tanh(etir.conv(x[..., None], w[:, None], padding="VALID")[:, 0]))
looked_up = ruled(lambda w, h, ids: 0.8 * h + 0.2 * jnp.tanh(w[ids]))


def settled(w: jax.Array, h: jax.Array, x: jax.Array) -> jax.Array:
    residual = lambda y: y + 0.3 * jnp.tanh(y) - (0.8 * h + x @ w)  # noqa: E731
    solve = lambda f, y: jax.lax.fori_loop(0, 60, lambda _, y: y - f(y) / 1.3, y)  # noqa: E731
    return jax.lax.custom_root(residual, jnp.zeros_like(h), solve, lambda g, y: y / g(jnp.ones_like(y)))


def in_a_loop(p: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    return jax.lax.scan(lambda h, k: (layer(p["w"], p["b"], h, k * x), None), h, jnp.arange(3.0))[0]


EXACT_MODELS: dict[str, tuple[Callable[..., jax.Array], str]] = {
    "by hand": (lambda p, h, x: 0.9 * h + spike(p["w"], p["b"], h, x), "wb"),
    "a batch": (lambda p, h, x: layer(p["w"], p["b"], h, x), "wb"),
    "in vmap": (lambda p, h, x: jax.vmap(lambda h, x: layer(p["w"], p["b"], h, x))(h, x), "wb"),
    "in a loop": (in_a_loop, "wb"),
    "beside other uses": (lambda p, h, x: beside(p["w"], p["b"], h, x), "wb"),
    "a convolution": (lambda p, h, x: convolved(p["w"], h, x), "w"),
    "a look-up": (lambda p, h, x: looked_up(p["w"], h, (9 * x[:, 0]).astype(int) % N), "w"),
    "custom_root": (lambda p, h, x: settled(p["w"], h, x), "w"),
    "several results": (lambda p, h, x: counted(p["w"], h, x, jnp.int32(2))[0], "w"),
}


def problem(inside: Callable[..., jax.Array], names: str) -> Any:
    keys = iter(jax.random.split(jax.random.key(0), 4))
    shapes = {"w": (N, N), "u": (N, N), "b": (N,)}
    params = {name: 0.5 * jax.random.normal(next(keys), shapes[name]) for name in names}

    def step(params: Any, states: Any, x: jax.Array) -> Any:
        h = inside(params, states["h"], x)
        return {"h": h}, h

    return step, params, {"h": jnp.full((B, N), 0.3)}, jax.random.normal(next(keys), (T, B, N))


def errors(step: Any, params: Any, states: Any, xs: Any, **options: Any) -> tuple[Any, dict[str, float]]:
    return beside_bptt(step, params, states, xs, on_truncated="ignore", **options)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow if n in ("a batch", "in vmap") else ()) for n in EXACT_MODELS]
)
def test_a_product_of_a_batch_is_exact(name: str):
    with jax.enable_x64(True):
        learner, found = errors(*problem(*EXACT_MODELS[name]))
        assert {entry.label for entry in learner.certificate} == {"exact"}
        assert max(found.values()) < EXACT


def test_the_site_has_the_data_that_the_rule_multiplies_and_the_weight_no_other():
    step, params, states, xs = problem(*EXACT_MODELS["by hand"])
    learner = etir.compile(step, params, states, xs[0], sites="auto")
    sites = [(s.weight.params[0].path, s.data and s.data.type.shape) for s in learner.transition.sites]
    assert sites == [("b", None), ("w", (N, B))]
    assert sorted(trace.before.type.shape for trace in learner.transition.plan.traces) == [(B, N), (B, N, N)]


def test_a_marked_product_is_found_without_asking_for_plain_ones():
    with jax.enable_x64(True):
        learner, found = errors(*problem(*EXACT_MODELS["several results"]), sites="explicit")
        assert learner.certificate["w"].label == "exact"
        assert found["w"] < EXACT


@pytest.mark.parametrize("rule", ["pp_prop", pytest.param("rtrl", marks=pytest.mark.slow)])
def test_a_rule_of_ones_own_says_what_a_plain_product_would(rule: str):
    plain = problem(lambda p, h, x: 0.8 * h + 0.2 * jnp.tanh(x @ p["w"] + p["b"]), "wb")
    own = problem(*EXACT_MODELS["a batch"])
    with jax.enable_x64(True):
        found = [errors(*of, rule=rule) for of in (plain, own)]
        labels = [{e.path: e.label for e in learner.certificate} for learner, _ in found]
        assert labels[0] == labels[1]
        assert all(abs(found[0][1][path] - found[1][1][path]) < EXACT for path in found[0][1])


def test_what_stands_behind_another_product_is_truncated_and_can_be_bought():
    with jax.enable_x64(True):
        of = problem(lambda p, h, x: two_layers(p["w"], p["b"], p["u"], h, x), "wub")
        learner, found = errors(*of)
        assert {e.path: str(e.label) for e in learner.certificate} == {"w": "truncated", "u": "exact", "b": "exact"}
        assert max(found["u"], found["b"]) < EXACT
        assert found["w"] > 1e-3
        assert max(errors(*of, rules={"w": "rtrl"})[1].values()) < EXACT


def test_a_dense_recurrence_within_is_held_apart():
    with jax.enable_x64(True):
        of = problem(lambda p, h, x: recurrent(p["w"], p["u"], h, x), "wu")
        learner, found = errors(*of)
        assert {str(e.label) for e in learner.certificate} == {"approximate"}
        assert 1e-3 < max(found.values()) < 0.2
        assert max(errors(*of, rule="snap", window=2)[1].values()) < EXACT


def test_frozen_weights_within_learn_nothing():
    with jax.enable_x64(True):
        learner, found = errors(*problem(*EXACT_MODELS["a batch"]), frozen=["w"])
        assert learner.certificate["b"].label == "exact"
        assert set(found) == {"b"}
        assert found["b"] < EXACT


def test_a_weight_behind_stop_gradient_is_no_site():
    def inside(p: Any, h: jax.Array, x: jax.Array) -> jax.Array:
        return 0.8 * h + jnp.tanh(x @ jax.lax.stop_gradient(p["w"]) + x @ p["u"] + 0.1 * p["w"][0])

    with jax.enable_x64(True):
        learner, found = errors(*problem(inside, "wu"))
        assert [site.operation for site in learner.transition.sites] == ["product", "identity"]
        assert max(found.values()) < EXACT
