"""Folds in one scan back: like layers are taken as one, and neither that nor the schedule changes a number."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import differing, driver
from oracles import by_path, loss

import etir
from etir.backends.folds.cells import Cells
from etir.backends.folds.family import families
from etir.backends.folds.replay import Replay

LAYERS, SIZE, BATCH, STEPS = 3, 3, 2, 11


def layer(p: Any, s: Any, x: Any, leak: float) -> Any:
    """Two gates, of which each has a weight of its own."""
    u = jnp.concatenate([x, s["h"]], -1)
    c = jax.nn.sigmoid(etir.matmul(u, p["f"])) * s["c"] + leak * jnp.tanh(etir.matmul(u, p["g"]))
    return {"c": c, "h": jnp.tanh(c)}


def stack(leaks: tuple[float, ...]) -> Any:
    def step(params: Any, states: Any, x: Any) -> Any:
        new: list[Any] = []
        for p, s, leak in zip(params, states, leaks, strict=True):
            new.append(layer(p, s, x, leak))
            x = x + new[-1]["h"]
        return new, x

    return step


def drawn() -> tuple[Any, ...]:
    keys = iter(jax.random.split(jax.random.key(3), 20))
    params = [{k: jax.random.normal(next(keys), (2 * SIZE, SIZE)) for k in "fg"} for _ in range(LAYERS)]
    states = [{k: jnp.full((BATCH, SIZE), 0.1) for k in "ch"} for _ in range(LAYERS)]
    xs, ts = (jax.random.normal(next(keys), (STEPS, BATCH, SIZE)) for _ in range(2))
    return params, states, xs, ts


def outcome(window: int, backend: str = "xla") -> Any:
    params, states, xs, ts = drawn()
    options: Any = {"window": window, "backend": backend, "on_truncated": "ignore"}
    learner = etir.compile(stack((0.5,) * LAYERS), params, states, xs[0], **options)
    grads, losses, carry = driver(learner)(params, states, xs, ts)
    return by_path(grads) | {"losses": losses} | {f"trace {k}": x for k, x in enumerate(learner.traces(carry))}


@pytest.mark.parametrize(("window", "fold", "entries"), [(2, 128, False), (2, 4, True), (1, 3, False), (5, 128, True)])
def test_like_layers_taken_as_one_agree_with_every_step(
    window: int, fold: int, entries: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("etir.backends.folds.family.MANY", 2)
    monkeypatch.setattr("etir.backends.folds.longest.FOLD", fold)
    monkeypatch.setattr("etir.backends.folds.algebra.Algebra.in_place_from", 1 if entries else 1 << 20)
    assert differing(outcome(window), outcome(window, "reference")) == {}


@pytest.mark.parametrize("like", [False, True], ids=["each layer alone", "like layers as one"])
@pytest.mark.parametrize("entries", [False, True], ids=["all entries at once", "entry by entry"])
@pytest.mark.parametrize("fold", [4, 128], ids=["three folds", "one fold"])
def test_traces_that_wait_for_their_last_advance_are_the_same(
    fold: int, entries: bool, like: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("etir.backends.folds.schedule.LATE", 1)
    monkeypatch.setattr("etir.backends.folds.longest.FOLD", fold)
    monkeypatch.setattr("etir.backends.folds.family.MANY", 2 if like else 8)
    monkeypatch.setattr("etir.backends.folds.algebra.Algebra.in_place_from", 1 if entries else 1 << 20)
    assert differing(outcome(2), outcome(2, "reference")) == {}


@pytest.mark.parametrize("fold", [16, 128], ids=["four folds", "one fold"])
def test_a_program_that_leaves_the_carry_does_not_make_the_last_advance(fold: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("etir.backends.folds.longest.FOLD", fold)
    monkeypatch.setattr("etir.backends.folds.schedule.LATE", fold if fold < 64 else 32)
    monkeypatch.setattr("etir.backends.folds.algebra.Algebra.in_place_from", 1)
    step = stack((0.5,))
    params, states, *_ = drawn()
    xs, ts = jnp.ones((2, 64, BATCH, SIZE))
    learner = etir.compile(step, params[:1], states[:1], xs[0], window=2, on_truncated="ignore")

    def products(of_result: Any) -> int:
        def program(params: Any, carry: Any) -> Any:
            return of_result(learner.grad(loss)(params, carry, xs, ts))

        return jax.jit(program).lower(params[:1], learner.init()).compile().as_text().count(" dot(")

    assert products(lambda result: result.grads) < products(lambda result: (result.grads, result.carry))


def test_a_program_has_the_numbers_of_like_layers_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("etir.backends.folds.family.MANY", 2)
    params, states, xs, ts = drawn()
    learner = etir.compile(stack((0.5,) * LAYERS), params, states, xs[0], window=2, on_truncated="ignore")
    program = str(jax.make_jaxpr(driver(learner))(params, states, xs, ts))
    numbers = rf"(\w+:i32\[\] ?){{{LAYERS}}} = optimization_barrier"
    assert len(re.findall(numbers, program)) == 1


@pytest.mark.parametrize(("leaks", "members"), [((0.5, 0.5, 0.5), [3]), ((0.5, 0.25, 0.5), [2, None])])
def test_layers_that_compute_something_else_are_not_alike(
    leaks: Any, members: list[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("etir.backends.folds.family.MANY", 2)
    params, states, xs, _ = drawn()
    program = etir.compile(stack(leaks), params, states, xs[0], window=2, on_truncated="ignore")._engine.program
    found, _ = families(program.transition, program.plan, program.sweeps.units)
    assert [family.members for family in found] == members


@pytest.mark.parametrize(
    ("last", "known"),
    [
        pytest.param(jnp.tanh, ["c", "h"], id="element by element"),
        pytest.param(lambda c: jnp.tanh(c) + jnp.tanh(c @ jnp.ones((SIZE, SIZE))), ["c"], id="past a product"),
    ],
)
def test_new_states_whose_derivatives_the_plan_has_are_not_differentiated_again(last: Any, known: list[str]):
    def step(p: Any, s: Any, x: Any) -> Any:
        u = jnp.concatenate([x, s["h"]], -1)
        c = 0.5 * s["c"] + jnp.tanh(etir.matmul(u, p["g"]))
        h = last(c)
        return {"c": c, "h": h}, h + c

    params, states, xs, ts = drawn()
    params, states = params[0], states[0]
    found: list[Any] = []
    for backend in ("xla", "reference"):
        learner = etir.compile(step, params, states, xs[0], window=3, backend=backend, on_truncated="ignore")
        grads, losses, _ = driver(learner)(params, states, xs, ts)
        found.append(by_path(grads) | {"losses": losses})
        if backend == "xla":
            program = learner._engine.program
            region = program.transition.region("forward")
            moved = Replay(region.body, range(len(region.inputs))).moved
            units, _ = families(program.transition, program.plan, program.sweeps.units)
            cells = Cells(program.transition, region, units, program.uses, moved)
            paths = [s.path for s in program.transition.hidden]
            of = [paths[family.unit.states[k]] for family, own in cells.of for cell in own for k in cell]
            assert sorted(of) == known
    assert differing(*found) == {}
