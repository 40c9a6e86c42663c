"""Norms and softmaxes in branches and loops: what is kept of them there is what is kept of them outside."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beside_bptt import beside_bptt, loss
from jax import lax
from oracles import relative_error

import etir
from etir.rules import EProp

N, LAYERS, T = 24, 3, 5
KEYS = jax.random.split(jax.random.key(0), 6)
PARAMS = {"W": 0.3 * jax.random.normal(KEYS[0], (N, N)), "V": 0.6 * jax.random.normal(KEYS[1], (N, N))}
STACK = {"W": 0.3 * jax.random.normal(KEYS[2], (LAYERS, N, N))}
STATES, LAYERED = {"h": 0.1 * jax.random.normal(KEYS[3], (N,))}, {"h": jnp.full((LAYERS, N), 0.1)}
XS = jax.random.normal(KEYS[4], (T, N))
Norm = Callable[[jax.Array], jax.Array]


def centred(a: jax.Array) -> jax.Array:
    return a - a.mean(-1, keepdims=True)


def layer_norm(a: jax.Array) -> jax.Array:
    c = centred(a)
    return c * lax.rsqrt((c * c).mean(-1, keepdims=True) + 1e-2)


def by_its_length(a: jax.Array) -> jax.Array:
    """Its derivative at zero is infinite."""
    return a / jnp.sqrt((a * a).sum(-1, keepdims=True))


def branch(norm: Norm) -> Any:
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        first = lambda h: 0.9 * h + norm(etir.matmul(x, p["W"]))  # noqa: E731
        second = lambda h: norm(0.9 * h + etir.matmul(x, p["V"]))  # noqa: E731
        h = lax.switch((x[0] > 0).astype(int) + (x[1] > 1), [first, second, lambda h: 0.5 * h], s["h"])
        return {"h": h}, h

    def written_out(p: Any, s: Any, x: jax.Array) -> Any:
        k, h = (x[0] > 0).astype(int) + (x[1] > 1), s["h"]
        first, second = 0.9 * h + norm(etir.matmul(x, p["W"])), norm(0.9 * h + etir.matmul(x, p["V"]))
        h = jnp.where(k == 0, first, jnp.where(k == 1, second, 0.5 * h))
        return {"h": h}, h

    return step, written_out, PARAMS, STATES


def substeps(norm: Norm) -> Any:
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        h = lax.fori_loop(0, 3, lambda _, h: h + 0.1 * (norm(etir.matmul(x, p["W"])) - h), s["h"])
        return {"h": h}, h

    def written_out(p: Any, s: Any, x: jax.Array) -> Any:
        y, h = norm(etir.matmul(x, p["W"])), s["h"]
        for _ in range(3):
            h += 0.1 * (y - h)
        return {"h": h}, h

    return step, written_out, {"W": PARAMS["W"]}, STATES


def side_by_side(norm: Norm) -> Any:
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        layer = lambda below, of: (below, 0.9 * of[0] + norm(etir.matmul(x, of[1]) + of[0]))  # noqa: E731
        _, h = lax.scan(layer, x, (s["h"], p["W"]))
        return {"h": h}, h

    def written_out(p: Any, s: Any, x: jax.Array) -> Any:
        h = 0.9 * s["h"] + norm(etir.einsum("i,lij->lj", x, p["W"]) + s["h"])
        return {"h": h}, h

    return step, written_out, STACK, LAYERED


def branch_in_a_loop(norm: Norm) -> Any:
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        def layer(k: Any, of: Any) -> Any:
            h, W = of
            taken = lambda h: 0.9 * h + norm(etir.matmul(x, W))  # noqa: E731
            return k + 1, lax.cond(k + x[0] > 1, taken, lambda h: 0.5 * h, h)

        h = lax.scan(layer, 0, (s["h"], p["W"]))[1]
        return {"h": h}, h

    def written_out(p: Any, s: Any, x: jax.Array) -> Any:
        k, h = jnp.arange(LAYERS)[:, None], s["h"]
        h = jnp.where(k + x[0] > 1, 0.9 * h + norm(etir.einsum("i,lij->lj", x, p["W"])), 0.5 * h)
        return {"h": h}, h

    return step, written_out, STACK, LAYERED


BODIES = {f.__name__: f for f in (branch, substeps, side_by_side, branch_in_a_loop)}
NORMS = {f.__name__: f for f in (centred, layer_norm, by_its_length, jax.nn.softmax)}


def learned(step: Any, params: Any, states: Any, **options: Any) -> tuple[Any, Any]:
    learner: Any = etir.compile(step, params, states, XS[0], on_truncated="ignore", **options)
    return learner, learner.grad(loss)(params, learner.init(), XS).grads


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("body", BODIES)
def test_what_is_kept_is_what_is_kept_of_the_step_written_out(body: str, norm: str):
    step, written_out, params, states = BODIES[body](NORMS[norm])
    learner, found = learned(step, params, states)
    other, wanted = learned(written_out, params, states)
    for path in params:
        assert relative_error(found[path], wanted[path]) < 1e-12
        assert learner.certificate[path].label == other.certificate[path].label
        own, theirs = ({r.text for r in each.certificate[path].reasons} for each in (learner, other))
        assert own == theirs


@pytest.mark.parametrize(
    "options",
    [
        {"credit": "rule", "window": 1},
        {"credit": "rule", "window": 3, "backend": "reference"},
        {"rule": EProp(kappa=0.0)},
        {"window": 4},
    ],
)
def test_other_read_outs_keep_the_same(options: Any):
    step, written_out, params, states = branch(layer_norm)
    (_, found), (_, wanted) = (learned(each, params, states, **options) for each in (step, written_out))
    assert max(relative_error(found[path], wanted[path]) for path in params) < 1e-12


@pytest.mark.parametrize("body", ["substeps", "branch_in_a_loop"])
def test_a_mean_that_is_taken_off_is_exact(body: str):
    step, _, params, states = BODIES[body](centred)
    learner, found = beside_bptt(step, params, states, XS, sites="explicit")
    assert learner.certificate["W"].label == "exact"
    assert found["W"] < 1e-10


def test_the_label_says_what_is_dropped_and_where():
    step, _, params, states = substeps(layer_norm)
    (entry,) = learned(step, params, states)[0].certificate
    (reason,) = entry.reasons
    assert reason.text == (
        "also reaches 'h' through reduce_sum (mixes positions): its diagonal is kept, the off-diagonal part, rank one, "
        "is dropped"
    )
    assert reason.loc is not None
    assert reason.loc.line == layer_norm.__code__.co_firstlineno + 2


def residual(p: Any, s: Any, x: jax.Array) -> Any:
    """Layers upon each other."""

    def layer(below: jax.Array, of: Any) -> Any:
        h = 0.9 * of[0] + layer_norm(etir.matmul(below, of[1]))
        return below + h, h

    top, h = lax.scan(layer, x, (s["h"], p["W"]))
    return {"h": h}, top


def of_the_carry(p: Any, s: Any, x: jax.Array) -> Any:
    y = etir.matmul(x, p["W"])
    h = lax.fori_loop(0, 3, lambda _, h: h + 0.1 * (layer_norm(0.3 * h + y) - h), s["h"])
    return {"h": h}, h


def loops_in_a_loop(p: Any, s: Any, x: jax.Array) -> Any:
    h = lax.fori_loop(0, 2, lambda _, h: of_the_carry(p, {"h": 0.9 * h}, x)[1], s["h"])
    return {"h": h}, h


@pytest.mark.parametrize(
    ("step", "params", "states"),
    [(residual, STACK, LAYERED), (of_the_carry, PARAMS, STATES), (loops_in_a_loop, PARAMS, STATES)],
)
def test_what_one_trip_hands_on_is_kept_beside_what_it_mixes(step: Any, params: Any, states: Any):
    params = {"W": params["W"]}
    learner, found = beside_bptt(step, params, states, XS, sites="explicit")
    truncated, without = beside_bptt(step, params, states, XS, sites="explicit", rule="bptt", on_truncated="ignore")
    assert learner.certificate["W"].label == "approximate"
    assert truncated.certificate["W"].label == "truncated"
    assert found["W"] < 0.8 * without["W"]
    _, exact = beside_bptt(step, params, states, XS, sites="explicit", rule="rtrl")
    assert exact["W"] < 1e-10


def test_of_what_the_carry_makes_each_position_keeps_its_own():
    """With `z` the mean of a constant, the loop is linear: `h' = h + 0.1 (h - mean(h))`, its diagonal to the third."""

    def step(p: Any, s: Any, x: jax.Array) -> Any:
        h = lax.fori_loop(0, 3, lambda _, h: h + 0.1 * centred(h), s["h"] + etir.matmul(x, p["W"]))
        return {"h": h}, h

    def kept(p: Any, s: Any, x: jax.Array) -> Any:
        whole = jnp.linalg.matrix_power(1.1 * jnp.eye(N) - 0.1 / N, 3)
        a, diagonal = s["h"] + x @ p["W"], (1 + 0.1 * (1 - 1 / N)) ** 3
        h = whole @ a
        return {"h": diagonal * a + lax.stop_gradient(h - diagonal * a)}, h

    params = {"W": PARAMS["W"]}
    _, found = learned(step, params, STATES)

    def total(p: Any) -> Any:
        def body(s: Any, x: jax.Array) -> Any:
            s, y = kept(p, s, x)
            return s, loss(y)

        return lax.scan(body, STATES, XS)[1].sum()

    assert relative_error(found["W"], jax.grad(total)(params)["W"]) < 1e-12


def test_beside_what_is_sorted_other_weights_are_exact():
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        taken = lambda h: 0.9 * h + jnp.sort(etir.matmul(x, p["V"])) + etir.matmul(x, p["W"])  # noqa: E731
        h = lax.cond(x[0] > 0, taken, lambda h: 0.5 * h, s["h"])
        return {"h": h}, h

    learner, found = beside_bptt(step, PARAMS, STATES, XS, sites="explicit", on_truncated="ignore")
    assert [str(learner.certificate[path].label) for path in "WV"] == ["exact", "truncated"]
    assert found["W"] < 1e-10


def test_a_sum_of_the_same_term_twice_is_two():
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        y = etir.matmul(x, p["W"])
        h = lax.fori_loop(0, 2, lambda _, h: 0.5 * h + y / (2 + jnp.cosh(h + h + y).sum() + (h + h).sum() ** 2), s["h"])
        return {"h": h}, h

    learner = etir.compile(step, {"W": PARAMS["W"]}, STATES, XS[0])
    assert str(learner.certificate["W"].label) == "approximate"
    _, y = learner.step({"W": PARAMS["W"]}, learner.init(), XS[0])
    assert np.allclose(y, step(PARAMS, STATES, XS[0])[1], rtol=1e-12)


def test_a_loop_may_do_what_is_no_result():
    def step(p: Any, s: Any, x: jax.Array) -> Any:
        def trip(_: Any, h: jax.Array) -> jax.Array:
            jax.debug.callback(seen.append, h.sum())
            return h + 0.1 * layer_norm(h + etir.matmul(x, p["W"]))

        h = lax.fori_loop(0, 3, trip, s["h"])
        return {"h": h}, h

    seen: list[Any] = []
    learner, grads = learned(step, {"W": PARAMS["W"]}, STATES)
    assert learner.certificate["W"].label == "approximate"
    assert np.isfinite(grads["W"]).all()
    assert seen
