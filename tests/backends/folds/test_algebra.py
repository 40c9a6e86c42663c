"""Folds of traces that are followed from position to position: the schedule changes no number."""

from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from learners import differing, driver, settled
from oracles import by_path, relative_error

import etir
from etir.backends.folds import schedule
from etir.backends.folds.algebra import OnSlots
from etir.rules import SnAp

SIZE, INPUTS, STEPS, BATCH = 6, 3, 10, 2


def ring(p: Any, s: Any, x: Any) -> Any:
    h = s["h"]
    h = jnp.tanh(etir.scale(h, p["a"]) + 0.6 * jnp.roll(h, 1, -1) + etir.matmul(x, p["W"]))
    return {"h": h}, h


def packed_lstm(p: Any, s: Any, x: Any) -> Any:
    """Two states; what one product feeds is split into gates."""
    i, f, g = jnp.split(etir.matmul(x, p["W"]) + etir.matmul(s["h"], p["U"]), 3, -1)
    c = jax.nn.sigmoid(f) * s["c"] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return {"c": c, "h": jnp.tanh(c)}, s["h"] + c


def spread(p: Any, s: Any, x: Any) -> Any:
    """Each output of the product comes to two positions."""
    y = etir.matmul(x, p["W"])
    h = jnp.tanh(0.5 * s["h"] + 0.4 * jnp.roll(s["h"], 1, -1) + y - 0.7 * jnp.roll(y, 2, -1))
    return {"h": h}, h


def rotating(p: Any, s: Any, x: Any) -> Any:
    """A complex state that turns, and moves from place to place."""
    z = etir.scale(s["z"], p["l"]) + 0.3 * jnp.roll(s["z"], 1, -1) + etir.matmul(x, p["W"])
    return {"z": z}, jnp.concatenate([z.real, z.imag], -1)


MODELS = {
    "ring": (ring, {"a": (SIZE,), "W": (INPUTS, SIZE)}, {"h": SIZE}, "float64"),
    "packed_lstm": (packed_lstm, {"W": (INPUTS, 12), "U": (4, 12)}, {"c": 4, "h": 4}, "float64"),
    "spread": (spread, {"W": (INPUTS, SIZE)}, {"h": SIZE}, "float64"),
    "rotating": (rotating, {"l": (5,), "W": (INPUTS, 5)}, {"z": 5}, "complex128"),
}


def drawn(name: str, batch: tuple[int, ...]) -> tuple[Any, ...]:
    step, shapes, states, dtype = MODELS[name]
    keys = iter(jax.random.split(jax.random.key(5), 9))
    params = {path: 0.5 * jax.random.normal(next(keys), shape, dtype) for path, shape in shapes.items()}
    zeros = {path: jnp.zeros((*batch, size), dtype) for path, size in states.items()}
    xs = jax.random.normal(next(keys), (STEPS, *batch, INPUTS))
    y = jax.eval_shape(step, params, zeros, xs[0])[1]
    return step, params, zeros, xs, jax.random.normal(next(keys), (STEPS, *y.shape))


@cache
def wanted(name: str, n: int | None, batch: tuple[int, ...] = ()) -> Any:
    """What the reference backend gives, which runs every operation at every step."""
    return outcome(name, n, batch, "reference")


def outcome(name: str, n: int | None, batch: tuple[int, ...] = (), backend: str = "xla") -> Any:
    step, params, states, xs, ts = drawn(name, batch)
    learner = etir.compile(step, params, states, xs[0], rule=SnAp(n=n), window=2, backend=backend)
    grads, losses, carry = driver(learner)(params, states, xs, ts)
    return by_path(grads) | {"losses": losses} | {f"trace {k}": x for k, x in enumerate(learner.traces(carry))}


@pytest.mark.parametrize(
    ("name", "n", "fold"),
    [("ring", 2, 1), ("ring", 2, 3), ("packed_lstm", None, 3), ("packed_lstm", None, 128), ("spread", 2, 1),
     ("spread", 2, 128), ("rotating", None, 3)],
)  # fmt: skip
def test_folds_of_any_length_agree_with_every_step(
    name: str, n: int | None, fold: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(schedule, "FOLD", fold)
    monkeypatch.setattr("etir.backends.folds.longest.FOLD", fold)
    monkeypatch.setattr("etir.backends.folds.pattern.Unit.room", fold)
    assert differing(outcome(name, n), wanted(name, n)) == {}


@pytest.mark.parametrize(("name", "n"), [("ring", 2), ("packed_lstm", None), ("spread", 3), ("packed_lstm", 1)])
def test_large_traces_are_passed_over_entry_by_entry(name: str, n: int | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(OnSlots, "in_place_from", 1)
    assert differing(outcome(name, n, (BATCH,)), wanted(name, n, (BATCH,))) == {}


@pytest.mark.parametrize("name", ["ring", "packed_lstm"])
def test_single_steps_come_to_the_same_as_a_window(name: str):
    step, params, states, xs, _ = drawn(name, (BATCH,))
    learner = etir.compile(step, params, states, xs[0], rule=SnAp(n=2), window=4)
    together, _ = learner.window(params, learner.init(params, states), xs[:4])
    one = learner.init(params, states)
    for x in xs[:4]:
        one, _ = learner.step(params, one, x)
    pairs = zip(*(jax.tree.leaves(settled(learner, carry)) for carry in (one, together)), strict=True)
    assert max(relative_error(a, b) for a, b in pairs) < 1e-12


def test_a_history_takes_no_more_room_than_the_traces(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("etir.backends.folds.pattern.LITTLE", 1)
    step, params, states, xs, _ = drawn("ring", (BATCH,))
    learner = etir.compile(step, params, states, xs[0], rule=SnAp(n=2))
    (unit,) = learner._engine.program.sweeps.units
    held = sum(trace.before.type.size for trace in learner.transition.plan.traces)
    assert unit.room == held // (2 * BATCH * SIZE) == 1 + INPUTS
