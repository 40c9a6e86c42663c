"""Learning, not only gradients: accuracy on held-out data by rule, against steps and seconds, over seeds.

Every rule starts from the same weights and sees the same batches, one update of Adam a batch of sequences.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import mean, pstdev
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import etir
from examples.tasks import TASKS, Task

from ..lif import spike
from ..memories import lru_layer, lru_params
from ..models import gru_cell
from ..record import Record
from ..suite import Case, Settings

Array = jax.Array
BATCH, LEARNING_RATE, WINDOW = 32, 5e-3, 8


class Model(NamedTuple):
    """A step `(params, states, x) -> (states, logits)`, and how to draw parameters and rest for a batch."""

    step: Callable[..., Any]
    params: Callable[[np.random.Generator, int, int], Any]
    rest: Callable[[int, int], Any]
    """Of a batch, for so many classes."""


def _normal(draw: np.random.Generator, *shape: int, scale: float = 1.0) -> Array:
    return jnp.asarray(draw.normal(size=shape) * scale / shape[0] ** 0.5, jnp.float32)


def gru(n: int) -> Model:
    """A gated recurrent unit with a linear readout."""

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        h = gru_cell(p, s["h"], x)
        return {"h": h}, h @ p["out"]

    def params(draw: np.random.Generator, inputs: int, classes: int) -> Any:
        return {k: _normal(draw, inputs + n, n) for k in "rzg"} | {"out": _normal(draw, n, classes)}

    return Model(step, params, lambda batch, _: {"h": jnp.zeros((batch, n))})


def lru(n: int, width: int = 16) -> Model:
    """Two layers of linear recurrent units with a nonlinear map between, and a linear readout."""

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        below, y = lru_layer(p["below"], s["below"], x @ p["embed"])
        above, y = lru_layer(p["above"], s["above"], jax.nn.gelu(y))
        return {"below": below, "above": above}, jax.nn.gelu(y) @ p["out"]

    def params(draw: np.random.Generator, inputs: int, classes: int) -> Any:
        layers = {k: lru_params(draw, width, n, width, 0.3) for k in ("below", "above")}
        layers = jax.tree.map(lambda a: a.astype(jnp.float32), layers)
        return layers | {"embed": _normal(draw, inputs, width), "out": _normal(draw, width, classes)}

    return Model(step, params, lambda batch, _: {k: jnp.zeros((batch, n), jnp.complex64) for k in ("below", "above")})


def lif(n: int) -> Model:
    """Spiking neurons with a threshold that adapts, and a leaky readout."""

    def step(p: Any, s: Any, x: Array) -> tuple[Any, Array]:
        z = spike(s["v"] - 1.0 - 0.4 * s["a"])
        v = 0.9 * s["v"] - z + jnp.concatenate([x, z], -1) @ p["w"]
        new = {"v": v, "a": 0.97 * s["a"] + z, "o": 0.95 * s["o"] + spike(v - 1.0 - 0.4 * s["a"]) @ p["out"]}
        return new, new["o"]

    def params(draw: np.random.Generator, inputs: int, classes: int) -> Any:
        recurrent = jnp.concatenate([_normal(draw, inputs, n, scale=2.0), _normal(draw, n, n, scale=0.5)])
        return {"w": recurrent, "out": _normal(draw, n, classes)}

    def rest(batch: int, classes: int) -> Any:
        return {"v": jnp.zeros((batch, n)), "a": jnp.zeros((batch, n)), "o": jnp.zeros((batch, classes))}

    return Model(step, params, rest)


MODELS: dict[str, Callable[[int], Model]] = {"GRU": gru, "two LRU": lru, "ALIF": lif}


def rules(steps: int) -> dict[str, tuple[Any, int]]:
    """What is compared: BPTT over the whole sequence, truncation, and what learns online; (rule, window) by name."""
    return {
        "bptt": ("bptt", steps),
        f"truncated, {WINDOW}": ("bptt", WINDOW),
        "d_rtrl, 1": ("d_rtrl", 1),
        f"d_rtrl, {WINDOW}": ("d_rtrl", WINDOW),
        "pp_prop, 1": ("pp_prop", 1),
        "cascade, 1": ("cascade", 1),
    }


def _loss(logits: Array, labels: Array, scored: Array) -> Array:
    """Cross-entropy, a mean over the batch, at steps that are scored."""
    return scored * jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


class Run(NamedTuple):
    """What one training found: accuracy on held-out data, the last loss, updates and seconds, compiling left out."""

    accuracy: float
    loss: float
    updates: int
    seconds: float


def train(task: Task, model: Model, rule: Any, window: int, seed: int, updates: int) -> Run:
    """Train one model by one rule from one seed."""
    draw = np.random.default_rng(seed)
    xs, steps = task.train[0], task.train[0].shape[1]
    params, optimizer = model.params(draw, xs.shape[-1], task.classes), optax.adam(LEARNING_RATE)
    scored = jnp.ones(steps) / steps if task.every_step else jnp.zeros(steps).at[-1].set(1.0)
    example = jnp.asarray(xs[:BATCH, 0])
    start = model.rest(BATCH, task.classes)
    learner = etir.compile(
        model.step, params, start, example, rule=rule, window=window, sites="auto", on_truncated="ignore"
    )
    slope = learner.grad(_loss, reduction="sum")

    @partial(jax.jit, donate_argnums=(0, 1))
    def update(params: Any, memory: Any, xs: Array, labels: Array) -> Any:
        found = slope(params, learner.init(params, start), xs, labels, scored)
        changes, memory = optimizer.update(found.grads, memory)
        return optax.apply_updates(params, changes), memory, found.losses.sum()

    @jax.jit
    def predicted(params: Any, xs: Array) -> Array:
        logits = learner.predict(params, start, xs)[1]
        return logits.argmax(-1) if task.every_step else logits[-1].argmax(-1)[None]

    def batch(chosen: np.ndarray, of: tuple[np.ndarray, np.ndarray]) -> tuple[Array, Array]:
        x, y = jnp.asarray(of[0][chosen]).swapaxes(0, 1), jnp.asarray(of[1][chosen])
        return x, (y.T if task.every_step else jnp.broadcast_to(y, (steps, BATCH)))

    memory = optimizer.init(params)
    keep = jax.tree.map(jnp.copy, (params, memory))
    jax.block_until_ready(update(*keep, *batch(np.arange(BATCH) % len(xs), task.train)))  # compiled, not counted
    began, loss = time.perf_counter(), jnp.zeros(())
    for _ in range(updates):
        params, memory, loss = update(params, memory, *batch(draw.integers(0, len(xs), BATCH), task.train))
    jax.block_until_ready(loss)
    seconds = time.perf_counter() - began

    right = total = 0
    for first in range(0, min(len(task.test[0]), 20 * BATCH), BATCH):
        chosen = np.arange(first, first + BATCH)
        inside = chosen < len(task.test[0])
        x, y = batch(chosen % len(task.test[0]), task.test)
        hit = np.asarray(predicted(params, x) == (y if task.every_step else y[-1:]))[:, inside]
        right, total = right + hit.sum(), total + hit.size
    return Run(float(right / total), float(loss), updates, seconds)


def _task(name: str, model_name: str, units: int, updates: int) -> Case:
    def run(settings: Settings) -> Sequence[Record]:
        try:
            task = TASKS[name]()
        except ImportError as missing:
            note = f"not run: {missing.name} is not installed (pip install 'etir[bench]')"
            return [Record(case=f"learning {name}", program="-", metric="accuracy", value=float("nan"), note=note)]
        model = MODELS[model_name](8 if settings.quick else units)
        count, seeds = (5, 1) if settings.quick else (updates, 3)
        records: list[Record] = []
        for rule, (taken, window) in rules(task.train[0].shape[1]).items():
            runs = [train(task, model, taken, window, seed, count) for seed in range(seeds)]
            found = [r.accuracy for r in runs]
            note = f"loss {mean(r.loss for r in runs):.3g}, {count} updates in {mean(r.seconds for r in runs):.1f} s"
            records.append(
                Record(
                    case=f"learning {name}, {model_name} of {units} units",
                    program=rule,
                    metric="accuracy",
                    value=mean(found),
                    spread=pstdev(found),
                    note=f"{note}, {seeds} seeds",
                )
            )
        return records

    suites = ("quick", "full") if name in ("digits by row", "text by character") else ("full",)
    return Case(f"learning {name}, {model_name}", run, suites, "accuracy on held-out data by rule")


CASES = (
    _task("digits by row", "GRU", 64, 400),
    _task("digits by pixel", "two LRU", 48, 600),
    _task("digits by pixel", "GRU", 64, 600),
    _task("JapaneseVowels", "GRU", 48, 300),
    _task("BasicMotions", "ALIF", 64, 200),
    _task("GunPoint", "two LRU", 32, 300),
    _task("text by character", "GRU", 128, 400),
)
