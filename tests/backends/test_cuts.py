"""A run that is cut at every step, saved and resumed is the whole run, bit for bit: every rule, marks included."""

import io
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from learners import compiled
from problems import problem

from etir.rules import RULES

LENGTH = 6
OPTIMIZER = optax.adam(0.05)
EACH = jnp.array([[1, 1], [0, 1], [1, 1], [1, 0], [0, 1], [1, 1]], bool)
"""Which samples count; where the first does not, so for whole steps."""
AGAIN = jnp.array([[0, 0], [0, 1], [1, 0], [0, 0], [0, 1], [1, 0]], bool)
MARKS = ("", "mask=step", "reset=step", "mask=sample reset=sample", "mask=step reset=sample")


def loss(y: Any, target: Any) -> Any:
    return jnp.sum((y - target) ** 2), y


def npz(tree: Any) -> Any:
    file = io.BytesIO()
    np.savez(file, *jax.tree.leaves(tree))
    file.seek(0)
    with np.load(file) as saved:
        return jax.tree.unflatten(jax.tree.structure(tree), [jnp.asarray(saved[name]) for name in saved.files])


def pickled(tree: Any) -> Any:
    return pickle.loads(pickle.dumps(tree))


class Runs:
    """A learner of a case of the zoo, and what it is called with."""

    def __init__(self, name: str, rule: str, window: int, marks: str) -> None:
        of = problem(name, batch=2)
        chosen = dict(mark.split("=") for mark in marks.split())
        self.learner = compiled(of, rule, window, **chosen)
        self.params, _, *sequences = of.arguments
        given = {name: {"mask": EACH, "reset": AGAIN}[name] for name in chosen}
        signals = {name: each[:, 0] if chosen[name] == "step" else each for name, each in given.items()}
        if rule == "three_factor":
            signals["modulator"] = jnp.arange(1.0, 1 + LENGTH)
        self.arrays = jax.tree.map(lambda a: jnp.asarray(a)[:LENGTH], (*sequences[:2], signals))

    @property
    def begun(self) -> Any:
        return self.learner.init(key=jax.random.key(6))

    def grad(self) -> tuple[Any, Callable[..., Any]]:
        drive = self.learner.grad(loss, resumable=True)

        def call(now: Any, xs: Any, ts: Any, **given: Any) -> Any:
            found = drive(self.params, now[0], xs, ts, onto=now[1], **given)
            return (found.carry, found.grads), (found.losses, found.aux)

        return (self.begun, None), call

    def train(self) -> tuple[Any, Callable[..., Any]]:
        drive = self.learner.train(loss, OPTIMIZER, resumable=True)

        def call(now: Any, xs: Any, ts: Any, **given: Any) -> Any:
            found = drive(*now, xs, ts, **given)
            return tuple(found[:3]), (found.losses, found.aux)

        return (self.params, OPTIMIZER.init(self.params), self.begun), call

    def over(self, method: str, cuts: list[int], ends: bool) -> Any:
        """What calls over the steps between the cuts give, one after the other, each from a saved carry."""
        now, call = getattr(self, method)()
        losses: list[Any] = []
        for start, stop in itertools.pairwise(cuts):
            xs, ts, signals = jax.tree.map(lambda a, start=start, stop=stop: a[start:stop], self.arrays)
            now, found = call(now, xs, ts, ends=ends and stop == LENGTH, **signals)
            now = (npz, pickled)[start % 2](now)
            losses.append(found)
        return now, jax.tree.map(lambda *parts: np.concatenate(parts), *losses)


def cases() -> list[Any]:
    """Models, rules, windows, marks, methods, and whether the last window ends; by default each rule once."""
    rules = sorted(set(RULES) - {"auto"})
    found: list[Any] = []
    for (k, rule), name in itertools.product(enumerate(rules), ("rnn_leaky", "lstm")):
        for case in itertools.product((4, 1), MARKS, ("train", "grad"), (False, True)):
            turn = 4, MARKS[k % len(MARKS)], ("train", "grad")[k % 2], False
            marks = () if name == "rnn_leaky" and case == turn else (pytest.mark.slow,)
            found.append(pytest.param(name, rule, *case, marks=marks))
    return found


@pytest.mark.parametrize(("name", "rule", "window", "marks", "method", "ends"), cases())
def test_a_run_that_is_cut_at_every_step_is_the_whole_run(
    name: str, rule: str, window: int, marks: str, method: str, ends: bool
):
    runs = Runs(name, rule, window, marks)
    whole, cut = (runs.over(method, cuts, ends) for cuts in ([0, LENGTH], list(range(LENGTH + 1))))
    assert jax.tree.structure(cut) == jax.tree.structure(whole)
    assert all(map(np.array_equal, jax.tree.leaves(cut), jax.tree.leaves(whole)))
