"""A spiking network learns handwritten digits online: `python examples/digits_spiking.py`.

Each image is shown to 96 adaptive neurons a row at a time, and its digit is asked for at the last row. The weights
change at every row, by what traces know of the rows before. Truncated backpropagation changes them as often and knows
nothing of those rows; backpropagation through the whole image knows all, and changes them once an image.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from figures import lines
from tasks import digits_by_row

import etir
from etir.training import Evaluate, Minibatches, Progress

NEURONS, BATCH, ROWS = 96, 32, 8
RULES = {
    "etir: D-RTRL, every row": ("d_rtrl", 1, 1e-3),
    "truncated, every row": ("bptt", 1, 1e-3),
    "BPTT, every image": ("bptt", ROWS, 3e-3),
}
"""Rule, window, and learning rate."""


@jax.custom_jvp
def spike(v: jax.Array) -> jax.Array:
    """One where the voltage is above the threshold; its derivative is that of a fast sigmoid."""
    return (v > 0).astype(v.dtype)


@spike.defjvp
def _surrogate(primals: Any, tangents: Any) -> Any:
    (v,), (dv,) = primals, tangents
    return spike(v), dv / (1 + 4 * jnp.abs(v)) ** 2


def step(params: Any, states: Any, row: jax.Array) -> Any:
    """Leaky neurons whose thresholds rise when they fire, and which see each other's last spikes."""
    before = spike(states["v"] - 1 - 0.3 * states["a"])
    current = etir.matmul(row, params["W"], params["b"]) + etir.matmul(before, params["U"])
    v = etir.scale(states["v"], jax.nn.sigmoid(params["leak"])) + current - before
    a = 0.9 * states["a"] + before
    return {"v": v, "a": a}, spike(v - 1 - 0.3 * a) @ params["out"]


def initial(key: jax.Array, inputs: int, classes: int) -> Any:
    """Random weights."""
    w, u, out = jax.random.split(key, 3)
    return {
        "W": jax.random.normal(w, (inputs, NEURONS)) / inputs**0.5,
        "U": 0.3 * jax.random.normal(u, (NEURONS, NEURONS)) / NEURONS**0.5,
        "b": jnp.full(NEURONS, 0.3),
        "leak": jnp.full(NEURONS, 2.0),
        "out": jax.random.normal(out, (NEURONS, classes)) / NEURONS**0.5,
    }


def loss(logits: jax.Array, label: jax.Array, asked: jax.Array) -> jax.Array:
    """Cross-entropy of the answer, at the row where it is asked for."""
    return asked.mean() * optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def accuracy(logits: jax.Array, label: jax.Array, _: jax.Array) -> jax.Array:
    """The share of images whose answer at the last row is right."""
    return jnp.mean(logits[-1].argmax(-1) == label[-1])


def arrays(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, labels and where the answer is asked for, time first."""
    asked = np.zeros((ROWS, len(images)), np.float32)
    asked[-1] = 1
    return np.swapaxes(images, 0, 1), np.broadcast_to(labels, asked.shape), asked


def learnt(rule: str, window: int, rate: float, epochs: int, seed: int, callbacks: Any = ()) -> etir.training.Fitted:
    """Train on four fifths of the images, and look at the others after each epoch."""
    task = digits_by_row()
    train, test = arrays(*task.train), arrays(*task.test)
    params = initial(jax.random.key(seed), train[0].shape[-1], task.classes)
    states = {"v": jnp.zeros((BATCH, NEURONS)), "a": jnp.zeros((BATCH, NEURONS))}
    learner = etir.compile(step, params, states, train[0][0, :BATCH], rule=rule, window=window, on_truncated="ignore")
    hung = [Evaluate([test], accuracy=accuracy), *callbacks]
    return etir.fit(
        learner, loss, optax.adam(rate), Minibatches(train, BATCH, seed=seed), epochs=epochs, callbacks=hung
    )


def main(epochs: int, seeds: int, out: Path) -> None:
    """Train by each rule from each seed, print accuracies, and draw them."""
    curves: dict[str, np.ndarray] = {}
    for name, (rule, window, rate) in RULES.items():
        runs = [
            learnt(rule, window, rate, epochs, seed, [Progress(desc=f"{name}, seed {seed}")]) for seed in range(seeds)
        ]
        curves[name] = np.array([run.history.column("accuracy") for run in runs])
    print(f"\n{'':<28}{'accuracy':>10}{'lowest':>10}{'highest':>10}")
    for name, found in curves.items():
        last = found[:, -1]
        print(f"{name:<28}{last.mean():>10.1%}{last.min():>10.1%}{last.max():>10.1%}")
    lines(
        out / "digits_spiking.png",
        curves,
        x=1 + np.arange(epochs),
        title="Digits, a row a step, asked for at the last row",
        labels=("epochs", "accuracy on images not learnt from"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the picture goes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.epochs, given.seeds, given.out)
