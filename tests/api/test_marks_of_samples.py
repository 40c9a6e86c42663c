"""Marks of samples: a batch is what its samples are alone, under rules whose traces do not move with the states."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from estimates import KEYS, LIMIT, scores
from learners import EXACT, differing
from oracles import by_path, loss

import etir
from etir.rules import PpProp

LENGTH, BATCH, UNITS = 5, 3, 4
DRAW = np.random.default_rng(0)
MASK, RESET = DRAW.random((LENGTH, BATCH)) < 0.7, DRAW.random((LENGTH, BATCH)) < 0.3
PARAMS = {
    name: 0.5 * DRAW.normal(size=shape)
    for name, shape in {"W": (3, UNITS), "U": (UNITS, UNITS), "b": (UNITS,), "A": (3, 2), "B": (2, UNITS)}.items()
}


def biased(params: Any, states: Any, x: Any) -> Any:
    h = 0.8 * states["h"] + 0.2 * jnp.tanh(etir.matmul(x, params["W"], params["b"]))
    return {"h": h}, h


def low_rank(params: Any, states: Any, x: Any) -> Any:
    h = 0.8 * states["h"] + jnp.tanh(etir.matmul(etir.matmul(x, params["A"]), params["B"]))
    return {"h": h}, h


def in_time(params: Any, states: Any, x: Any) -> Any:
    """A stretch of time a step, before the samples and as long as they are many."""
    h = 0.8 * states["h"] + jnp.tanh(etir.matmul(x, params["W"])).mean(0) * (1 + states["h"])
    return {"h": h}, h


def turned(params: Any, states: Any, x: Any) -> Any:
    """As many units as samples, and before them."""
    y = etir.matmul(params["W"].T[:BATCH], x.T).T if x.ndim == 2 else etir.matmul(params["W"].T[:BATCH], x)
    h = 0.8 * states["h"] + 0.2 * jnp.tanh(y) * (1 + states["h"])
    return {"h": h}, h


BOTH = "sample", "sample"
CASES = [
    (biased, "ottt", BOTH), (biased, PpProp(corrected=True), ("step", "sample")), (low_rank, "pp_prop", BOTH),
    (low_rank, PpProp(corrected=True), BOTH), (in_time, "pp_prop", BOTH), (in_time, "ottt", BOTH),
    (turned, "pp_prop", BOTH),
]  # fmt: skip


@pytest.mark.parametrize(("step", "rule", "kinds"), CASES, ids=lambda x: getattr(x, "__name__", str(x)[:12]))
def test_samples_of_a_batch_are_learned_from_as_each_alone(step: Any, rule: Any, kinds: tuple[str, str]):
    units = BATCH if step is turned else UNITS
    lead = (BATCH,) if step is in_time else ()
    xs, ts = DRAW.normal(size=(LENGTH, *lead, BATCH, 3)), DRAW.normal(size=(LENGTH, BATCH, units))
    mask = np.repeat(MASK[:, :1], BATCH, 1) if kinds[0] == "step" else MASK
    ts = ts * mask[..., None]
    options: dict[str, Any] = {"rule": rule, "window": 2, "on_truncated": "ignore"}

    def compiled(states: Any, x: Any, mask: str, reset: str) -> Any:
        return etir.compile(step, PARAMS, {"h": states}, x, mask=mask, reset=reset, **options)

    learner = compiled(np.full((BATCH, units), 0.1), xs[0], *kinds)
    single = compiled(np.full(units, 0.1), xs[0].take(0, len(lead)), "step", "step")
    given = mask[:, 0] if kinds[0] == "step" else mask
    found = learner.grad(loss)(PARAMS, learner.init(), xs, ts, mask=given, reset=RESET).grads

    def alone(x: Any, t: Any, mask: Any, reset: Any) -> Any:
        return single.grad(loss)(PARAMS, single.init(), x, t, mask=mask, reset=reset).grads

    wanted = jax.vmap(alone, (1 + len(lead), 1, 1, 1))(xs, ts, mask, RESET)
    assert differing(by_path(found), by_path(jax.tree.map(lambda g: g.sum(0), wanted)), EXACT) == {}


@pytest.mark.parametrize(
    ("rule", "kinds"), [("uoro", BOTH), ("kf_rtrl", ("step", "sample")), ("uoro", ("sample", "step"))]
)
def test_the_mean_of_random_estimates_is_the_gradient_of_marked_steps(rule: str, kinds: tuple[str, str]):
    def step(params: Any, states: Any, x: Any) -> Any:
        h = jnp.tanh(etir.matmul(x, params["W"]) + etir.matmul(states["h"], params["U"]))
        return {"h": h}, h

    xs, ts = DRAW.normal(size=(LENGTH, BATCH, 3)), DRAW.normal(size=(LENGTH, BATCH, UNITS))
    own = {name: PARAMS[name] for name in ("W", "U")}
    marks = {
        name: each[:, 0] if kind == "step" else each
        for name, kind, each in zip(("mask", "reset"), kinds, (MASK, RESET), strict=True)
    }
    if kinds[0] == "sample":
        ts = ts * MASK[..., None]

    def gradients(rule: str) -> Any:
        learner = etir.compile(
            step, own, {"h": np.full((BATCH, UNITS), 0.1)}, xs[0], rule=rule, mask=kinds[0], reset=kinds[1]
        )
        return jax.jit(lambda key: learner.grad(loss)(own, learner.init(key=key), xs, ts, **marks).grads)

    found = jax.jit(jax.vmap(gradients(rule)))(jax.random.split(jax.random.key(7), KEYS))
    off = scores(by_path(found), by_path(gradients("rtrl")(jax.random.key(0))))
    assert {path: score for path, score in off.items() if not score < LIMIT} == {}
