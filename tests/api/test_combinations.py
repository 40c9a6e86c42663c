"""Weights, operations and constructs in combinations that went wrong once: what is exact is BPTT's gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from learners import EXACT, differing
from oracles import by_path

import etir

UNITS, STEPS = 4, 5
SHAPES: dict[str, tuple[int, ...]] = {"V": (4, 4), "W": (4, 4), "d": (4,), "a": (4,), "g": (), "E": (1, 6)}
Inside = Callable[[Any, jax.Array, jax.Array], jax.Array]


def outer_and_scale(p: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    def trip(_: Any, c: jax.Array) -> jax.Array:
        return 0.5 * c + jnp.tanh(etir.scale(c, p["a"]) + etir.matmul(c, jnp.outer(p["a"], p["a"]))) + x

    return jax.lax.fori_loop(0, 3, trip, h)


def empty_loop(p: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    products = jax.lax.scan(lambda i, a: (i + 1, etir.matmul(a, p["W"])), 0, jnp.zeros((0, 4)))[1]
    return products.sum(0) + etir.scale(x, p["a"]) + h


def row(p: Any, h: jax.Array, x: jax.Array) -> jax.Array:
    numbers = jax.lax.GatherDimensionNumbers((1,), (0,), (0,))
    return jax.lax.gather(p["E"], jnp.zeros((1, 1), int), numbers, (1, 4))[0] + x + h


MODELS: dict[str, tuple[Inside, dict[str, Any]]] = {
    "a site whose output no region gives": (
        lambda p, h, x: etir.matmul(x, p["V"]) + etir.scale(h, p["d"]), {"window": 2}),
    "a scalar in a branch": (
        lambda p, h, x: jax.lax.cond(x[0] > 0, lambda: p["g"] * h, lambda: x), {"sites": "auto"}),
    "a scalar in a loop": (
        lambda p, h, x: jax.lax.fori_loop(0, 2, lambda _, c: c + (x - c) * p["g"], h), {"rule": "rtrl"}),
    "a scalar that pads": (lambda p, h, x: jax.lax.pad(x + h, p["g"], [(1, -1, 0)]), {"sites": "auto"}),
    "a scalar that is put in a place": (lambda p, h, x: x[:1].at[0].set(p["g"]) + h, {"sites": "auto"}),
    "a loop of no trip": (empty_loop, {}),
    "a weight that is scaled with, and made into a matrix": (outer_and_scale, {"window": STEPS}),
    "a part of the only row": (row, {"sites": "auto"}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*learns nothing:etir.EtirWarning")
@pytest.mark.parametrize("name", MODELS)
def test_labels_are_true(name: str):
    inside, options = MODELS[name]
    draw = iter(np.random.default_rng(0).normal(size=(8, 64)))
    of = {path: jnp.asarray(next(draw)[: int(np.prod(s))].reshape(s)) for path, s in SHAPES.items()}
    xs, start = jnp.asarray(next(draw)[: STEPS * UNITS].reshape(STEPS, UNITS)), jnp.full(UNITS, 0.3)
    read = set[str]()

    class Reading(dict):
        def __getitem__(self, path: str) -> Any:
            read.add(path)
            return of[path]

    inside(Reading(), start, xs[0])
    params = {path: of[path] for path in sorted(read)}

    def step(p: Any, h: jax.Array, x: jax.Array) -> Any:
        h = 0.8 * h + 0.2 * jnp.tanh(inside(p, h, x))
        return h, h

    def total(p: Any) -> jax.Array:
        return jnp.sum(jnp.sin(jax.lax.scan(lambda h, x: step(p, h, x), start, xs)[1]))

    learner = etir.compile(step, params, start, xs[0], on_truncated="ignore", **options)
    found = learner.grad(lambda h: jnp.sum(jnp.sin(h)))(params, learner.init(), xs).grads
    wrong = differing(by_path(found), by_path(jax.grad(total)(params)), EXACT)
    assert not {path for path in wrong if str(learner.certificate[path].label) == "exact"}
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(found))


def test_narrow_indices_have_the_derivative_of_wide_ones():
    grad = jax.grad(lambda table: etir.embed(table, jnp.int8(3)).sum())(jnp.ones((200, 1)))
    assert float(grad[3, 0]) == float(grad.sum()) == 1.0


def test_a_running_mean_that_divides_is_no_infinity_before_the_first_step():
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        a = 0.8 * s["a"] + etir.scale(x, p["w"])
        trips = jnp.arange(3.0)
        b = jax.lax.scan(lambda c, i: (c / (2.0 + i) + 0.1 * etir.matmul(a, p["V"]), None), s["b"], trips)[0]
        return {"a": a, "b": b}, b

    params, xs = {"w": jnp.ones(4), "V": jnp.full((4, 4), 0.5)}, jnp.ones((STEPS, 4))
    learner = etir.compile(step, params, {"a": jnp.zeros(4), "b": jnp.zeros(4)}, xs[0], rule="cascade")
    grads = learner.grad(lambda b: jnp.sum(b**2))(params, learner.init(), xs).grads
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
