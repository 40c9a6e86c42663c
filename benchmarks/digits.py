"""Digits, pixel by pixel, by two layers of linear recurrent units: what credit across layers is worth for learning.

The lower layer forgets within a few pixels, the upper one keeps what it is shown for the whole image, and only the last
step is scored. Two channels lead from the one to the other, so what the lower layer should show is worth learning, and
that takes credit through the upper one's memory. Run as `python -m benchmarks.digits [epochs] [seeds]`. Each rule sees
the same batches from the same start, one update of Adam a batch of sequences; printed are accuracy (the mean of the
last three epochs) and cross-entropy on the held-out part. It needs scikit-learn and optax.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import etir
from etir.rules import Cascade
from examples.tasks import digits_by_pixel

from .memories import lru_layer, lru_params

UNITS, WIDTH, CHANNELS, BATCH, LEARNING_RATE = 24, 8, 2, 64, 5e-3
RULES: dict[str, Any] = {"d_rtrl": "d_rtrl", "cascade": Cascade(constants=8), "bptt": None}


def step(p: Any, s: Any, x: Any) -> Any:
    """Two layers, each a linear recurrent unit, with two squashed channels between them, then a readout."""
    shown = jnp.tanh(etir.matmul(x, p["embed"]) + p["offset"])
    below, x = lru_layer(p["below"], s["below"], shown)
    above, x = lru_layer(p["above"], s["above"], jnp.tanh(x))
    read = jnp.concatenate([x, jax.nn.gelu(x)], -1)
    return {"below": below, "above": above}, etir.matmul(read, p["readout"])


def loss(logits: Any, label: Any, scored: Any) -> Any:
    """Cross-entropy at the steps that are scored, a mean over the batch."""
    return scored * optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def start(seed: int) -> tuple[Any, Any]:
    """Parameters, and the states of a batch."""
    draw, outputs = np.random.default_rng(seed), 2 * WIDTH
    layers = {
        "below": lru_params(draw, WIDTH, UNITS, CHANNELS, 0.5, (0.3, 1.0)),
        "above": lru_params(draw, CHANNELS, UNITS, outputs, 0.05, (0.01, 0.1)),
    }
    ends = {
        "embed": 2 * draw.normal(size=(1, WIDTH)),
        "offset": draw.normal(size=WIDTH),
        "readout": draw.normal(size=(2 * outputs, 10)) / 6,
    }
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), layers | ends)
    return params, {k: jnp.zeros((BATCH, UNITS), jnp.complex64) for k in ("below", "above")}


def gradient(rule: Any, params: Any, states: Any) -> Any:
    """A function of parameters, pixels `[time, batch, 1]`, labels and scores: the gradient of a sequence."""
    if rule is None:

        def total(params: Any, xs: Any, labels: Any, scored: Any) -> Any:
            def body(s: Any, at: Any) -> Any:
                s, y = step(params, s, at[0])
                return s, loss(y, labels, at[1])

            return jax.lax.scan(body, states, (xs, scored))[1].sum()

        return jax.jit(jax.grad(total))
    learner = etir.compile(step, params, states, jnp.zeros((BATCH, 1)), rule=rule, window=1, on_truncated="ignore")

    def learned(params: Any, xs: Any, labels: Any, scored: Any) -> Any:
        every = jnp.broadcast_to(labels, (len(xs), BATCH))
        drive = learner.grad(loss, reduction="sum")
        return drive(params, learner.init(params, states), xs, every, scored).grads

    return jax.jit(learned)


def main(epochs: int = 16, seeds: int = 3) -> None:
    """Train by each rule, from each seed."""
    (train_x, train_y), (test_x, test_y), _ = digits_by_pixel()
    scored = jnp.zeros(64).at[-1].set(1.0)
    optimizer = optax.adam(LEARNING_RATE)
    states = start(0)[1]
    slopes = {name: gradient(rule, *start(0)) for name, rule in RULES.items()}

    @jax.jit
    def predicted(params: Any, xs: Any) -> Any:
        rest = jax.tree.map(lambda s: jnp.zeros((xs.shape[1], UNITS), s.dtype), states)
        return jax.lax.scan(lambda s, x: step(params, s, x), rest, xs)[1][-1]

    for seed in range(seeds):
        for name, slope in slopes.items():
            now, order, found = start(seed)[0], np.random.default_rng(seed + 100), list[float]()
            memory, logits = optimizer.init(now), jnp.zeros((len(test_y), 10))
            for _ in range(epochs):
                for chosen in np.array_split(order.permutation(len(train_x)), len(train_x) // BATCH):
                    chosen = np.resize(chosen, BATCH)
                    xs = jnp.asarray(train_x[chosen].swapaxes(0, 1))
                    updates, memory = optimizer.update(slope(now, xs, jnp.asarray(train_y[chosen]), scored), memory)
                    now = optax.apply_updates(now, updates)
                logits = predicted(now, jnp.asarray(test_x.swapaxes(0, 1)))
                found.append(float((logits.argmax(-1) == test_y).mean()))
            entropy = float(optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(test_y)).mean())
            print(f"seed {seed}  {name:8} accuracy {np.mean(found[-3:]):.3f}  loss {entropy:.3f}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
