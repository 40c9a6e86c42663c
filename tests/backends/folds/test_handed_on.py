"""A trace that follows from the other states' is not carried, whatever takes the steps, and no number changes."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import differing
from oracles import bptt, by_path, loss, relative_error

import etir

EXACT, STEPS, SIZE, BATCH = 1e-12, 11, 3, 2


def cell(p: Any, s: Any, x: Any) -> Any:
    """A memory cell whose gates see the input alone: all is exact."""
    i, f, g, o = (etir.matmul(x, p[k]) for k in "ifgo")
    c = jax.nn.sigmoid(f) * s["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return {"h": jax.nn.sigmoid(o) * jnp.tanh(c), "c": c}


def step(params: Any, states: Any, x: Any) -> Any:
    """Two cells side by side, a plain layer whose trace is carried, and an output that reads the old `h`."""
    new = [cell(p, s, x) for p, s in zip(params["cells"], states["cells"], strict=True)]
    v = 0.7 * states["v"] + etir.matmul(x, params["w"])
    return {"cells": new, "v": v}, jnp.concatenate([new[0]["h"] * states["cells"][1]["h"], new[1]["h"], v], -1)


def drawn() -> tuple[Any, ...]:
    keys = iter(jax.random.split(jax.random.key(5), 20))
    params = {
        "cells": [{k: jax.random.normal(next(keys), (SIZE, SIZE)) for k in "ifgo"} for _ in range(2)],
        "w": jax.random.normal(next(keys), (SIZE, SIZE)),
    }
    states = {
        "cells": [{k: jnp.full((BATCH, SIZE), 0.1) for k in "ch"} for _ in range(2)],
        "v": jnp.zeros((BATCH, SIZE)),
    }
    xs = jax.random.normal(next(keys), (STEPS, BATCH, SIZE))
    return params, states, xs, jax.random.normal(next(keys), (STEPS, BATCH, 3 * SIZE))


def by_steps(learner: Any, params: Any, carry: Any, xs: Any, ts: Any) -> Any:
    @jax.jit
    def one(params: Any, carry: Any, x: Any, t: Any) -> Any:
        def of(params: Any) -> Any:
            after, y = learner.step(params, carry, x)
            return loss(y, t), after

        return jax.grad(of, has_aux=True)(params)

    total = jax.tree.map(jnp.zeros_like, params)
    for x, t in zip(xs, ts, strict=True):
        grads, carry = one(params, carry, x, t)
        total = jax.tree.map(jnp.add, total, grads)
    return total, carry


def by_windows(learner: Any, params: Any, carry: Any, xs: Any, ts: Any) -> Any:
    def whole(params: Any) -> Any:
        after, ys = learner.window(params, carry, xs)
        return loss(ys, ts), after

    return jax.grad(whole, has_aux=True)(params)


def by_driver(learner: Any, params: Any, carry: Any, xs: Any, ts: Any) -> Any:
    found = learner.grad(loss)(params, carry, xs, ts)
    return found.grads, found.carry


@pytest.mark.parametrize(("window", "fold", "many"), [(1, 3, 2), (2, 4, 4), (3, 128, 2)])
def test_every_method_goes_on_from_what_others_leave(
    window: int, fold: int, many: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("etir.backends.folds.family.MANY", many)
    monkeypatch.setattr("etir.backends.folds.longest.FOLD", fold)
    params, states, xs, ts = drawn()
    learner = etir.compile(step, params, states, xs[0], window=window, on_truncated="ignore")
    assert {str(entry.label) for entry in learner.certificate} == {"exact"}
    carry, total, at = learner.init(), jax.tree.map(jnp.zeros_like, params), 0
    for method, steps in ((by_driver, 5), (by_windows, window), (by_steps, 1), (by_driver, STEPS - 6 - window)):
        if steps:
            grads, carry = method(learner, params, carry, xs[at : at + steps], ts[at : at + steps])
            total, at = jax.tree.map(jnp.add, total, grads), at + steps
    wanted, found = bptt(step, params, states, (xs,), ts).grads, by_path(total)
    assert at == STEPS
    assert {path: e for path, g in wanted.items() if not (e := relative_error(found[path], g)) < EXACT} == {}
    plain = etir.compile(step, params, states, xs[0], window=window, on_truncated="ignore", backend="reference")
    ends = [{str(k): x for k, x in enumerate(of.traces(end))} for of, end in (
        (learner, carry), (plain, by_driver(plain, params, plain.init(), xs, ts)[1])
    )]  # fmt: skip
    assert differing(*ends) == {}


def test_what_is_carried_is_what_the_next_step_reads():
    params, states, xs, _ = drawn()
    learner = etir.compile(step, params, states, xs[0], window=2)
    plan = learner.transition.plan
    assert plan is not None
    pairs = zip(plan.traces, learner.init().traces, strict=False)
    kept = [trace.label for trace, x in pairs if not isinstance(x, tuple)]
    cells = [f"cells.{k}.{gate} on cells.{k}.c" for k in range(2) for gate in "fgi"]
    assert sorted(kept) == [*cells, "w on v"]
    assert len(learner.traces(learner.init())) == len(plan.traces) == 2 * 7 + 1
