"""Digits, pixel by pixel, by two layers of linear recurrent units: what credit across layers is worth for learning.

The lower layer forgets within a few pixels, the upper one keeps what it is shown for the whole image, and only the last
step is scored: what the lower layer should show is learnt from credit through the upper one's memory or not at all.
Run as `python -m benchmarks.digits [epochs]`. Each rule sees the same batches from the same start, one update of Adam a
batch of sequences; printed is the accuracy on the held-out part after each epoch. It needs scikit-learn and optax.
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

UNITS, WIDTH, BATCH, LEARNING_RATE = 24, 8, 64, 5e-3
RULES: dict[str, Any] = {"d_rtrl": "d_rtrl", "cascade": Cascade(constants=6), "bptt": None}


def step(p: Any, s: Any, x: Any) -> Any:
    """Two layers, each a linear recurrent unit and a nonlinear map to the next one, then a readout."""
    below, x = lru_layer(p["below"], s["below"], etir.matmul(x, p["embed"]))
    above, x = lru_layer(p["above"], s["above"], jax.nn.gelu(x))
    return {"below": below, "above": above}, etir.matmul(jax.nn.gelu(x), p["readout"])


def loss(logits: Any, label: Any, scored: Any) -> Any:
    """Cross-entropy at the steps that are scored, a mean over the batch."""
    return scored * optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def start() -> tuple[Any, Any]:
    """Parameters, and the states of a batch."""
    draw = np.random.default_rng(0)
    layers = {
        "below": lru_params(draw, WIDTH, UNITS, WIDTH, 0.5, (0.3, 1.0)),
        "above": lru_params(draw, WIDTH, UNITS, WIDTH, 0.05, (0.01, 0.1)),
    }
    ends = {"embed": draw.normal(size=(1, WIDTH)), "readout": draw.normal(size=(WIDTH, 10)) / WIDTH**0.5}
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), layers | ends)
    return params, {k: jnp.zeros((BATCH, UNITS), jnp.complex64) for k in layers}


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


def main(epochs: int) -> None:
    """Train by each rule."""
    (train_x, train_y), (test_x, test_y), _ = digits_by_pixel()
    scored = jnp.zeros(64).at[-1].set(1.0)
    params, states = start()
    optimizer = optax.adam(LEARNING_RATE)

    @jax.jit
    def predicted(params: Any, xs: Any) -> Any:
        rest = jax.tree.map(lambda s: jnp.zeros((xs.shape[1], UNITS), s.dtype), states)
        return jax.lax.scan(lambda s, x: step(params, s, x), rest, xs)[1][-1].argmax(-1)

    for name, rule in RULES.items():
        slope, now, memory = gradient(rule, params, states), params, optimizer.init(params)
        order = np.random.default_rng(1)
        for epoch in range(epochs):
            for chosen in np.array_split(order.permutation(len(train_x)), len(train_x) // BATCH):
                chosen = chosen[:BATCH] if len(chosen) >= BATCH else np.resize(chosen, BATCH)
                xs = jnp.asarray(train_x[chosen].swapaxes(0, 1))
                grads = slope(now, xs, jnp.asarray(train_y[chosen]), scored)
                updates, memory = optimizer.update(grads, memory)
                now = optax.apply_updates(now, updates)
            right = predicted(now, jnp.asarray(test_x.swapaxes(0, 1))) == test_y
            print(f"{name:8} epoch {epoch + 1:2}  accuracy {float(right.mean()):.3f}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
