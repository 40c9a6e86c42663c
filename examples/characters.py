"""A language model by character, an mLSTM that never goes back: `python examples/characters.py`.

The text is Python's own documentation, which comes with Python. Eight readers begin at eight places and read on; the
weights change at every character, and what earlier characters have to do with it is known from traces. None of the
text is kept, and none of it is read twice.
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
from tasks import text_by_character

import etir
from etir.training import Evaluate, Progress

READERS, STEPS, HEADS, UNITS, KINDS = 8, 128, 2, 32, 64
RULES = {
    "etir: D-RTRL, every character": ("d_rtrl", 1, 2e-3),
    "truncated, every character": ("bptt", 1, 2e-3),
    "BPTT, every 128": ("bptt", STEPS, 1e-2),
}
"""Rule, window, and learning rate at first."""


def step(params: Any, states: Any, x: jax.Array) -> Any:
    """An mLSTM (Beck et al. 2024): a matrix of memory a head, its gates stabilised by a running maximum."""

    def heads(y: jax.Array) -> jax.Array:
        return y.reshape(*y.shape[:-1], HEADS, -1)

    q, k, v = (heads(etir.matmul(x, params[name])) for name in ("Wq", "Wk", "Wv"))
    k = k / k.shape[-1] ** 0.5
    i, f = (etir.matmul(x, params["W" + gate], params["b" + gate]) for gate in "if")
    aged = jax.nn.log_sigmoid(f) + states["m"]
    m = jnp.maximum(aged, i)
    i, f = jnp.exp(i - m)[..., None], jnp.exp(aged - m)[..., None]
    C = f[..., None] * states["C"] + i[..., None] * v[..., :, None] * k[..., None, :]
    n = f * states["n"] + i * k
    norm = jnp.maximum(jnp.abs(jnp.sum(n * q, -1, keepdims=True)), jnp.exp(-m)[..., None])
    h = jnp.einsum("...vk,...k->...v", C, q) / norm
    o = jax.nn.sigmoid(x @ params["Wo"] + params["bo"])
    return {"C": C, "n": n, "m": m}, (o * h.reshape(o.shape)) @ params["out"] + x @ params["pair"]


def initial(key: jax.Array) -> Any:
    """Random weights; heads forget after about 3, 10, 30 and 100 characters at first."""
    keys = iter(jax.random.split(key, 8))
    wide = {name: jax.random.normal(next(keys), (KINDS, UNITS)) for name in ("Wq", "Wk", "Wv", "Wo")}
    gates = {name: 0.1 * jax.random.normal(next(keys), (KINDS, HEADS)) for name in ("Wi", "Wf")}
    biases = {"bi": jnp.zeros(HEADS), "bf": jnp.log(jnp.array([5.0, 50.0])), "bo": jnp.zeros(UNITS)}
    ends = {"out": 0.1 * jax.random.normal(next(keys), (UNITS, KINDS)), "pair": jnp.zeros((KINDS, KINDS))}
    return wide | gates | biases | ends


def rest(readers: int) -> Any:
    """Nothing has been read."""
    size = UNITS // HEADS
    shapes = {"C": (HEADS, size, size), "n": (HEADS, size), "m": (HEADS,)}
    return {name: jnp.zeros((readers, *shape)) for name, shape in shapes.items()}


def loss(logits: jax.Array, following: jax.Array) -> jax.Array:
    """Bits for the next character, a mean over readers; of outputs over time, over time too."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, following).mean() / np.log(2)


def readings(text: tuple[np.ndarray, np.ndarray], readers: int, steps: int) -> list[Any]:
    """Batches `[steps, readers, ...]`, each of which goes on where the one before ends."""
    parts = []
    for part in text:
        rows = part.reshape(-1, *part.shape[2:])
        rows = rows[: len(rows) // (readers * steps) * readers * steps]
        parts.append(rows.reshape(readers, -1, steps, *rows.shape[1:]).swapaxes(0, 1).swapaxes(1, 2))
    return list(zip(*parts, strict=True))


def learnt(kind: Any, batches: int, epochs: int, seed: int, callbacks: Any = ()) -> etir.training.Fitted:
    """Read the text, and look at the held-out tenth after each epoch."""
    rule, window, rate = kind
    text = text_by_character(kinds=KINDS)
    train = readings(text.train, READERS, STEPS)
    each = min(batches, len(train) // epochs)  # nothing is read twice
    held_out = readings(text.test, 8, len(text.test[1]) * text.test[1].shape[1] // 8)
    first, example = initial(jax.random.key(seed)), train[0][0][0]
    learner = etir.compile(step, first, rest(READERS), example, rule=rule, window=window, on_truncated="ignore")
    return etir.fit(
        learner,
        loss,
        optax.adam(optax.cosine_decay_schedule(rate, epochs * each * STEPS // window)),
        lambda epoch: train[epoch * each : (epoch + 1) * each],
        epochs=epochs,
        sequence="run",
        reduction="mean",
        callbacks=[Evaluate(held_out, held_out=loss), *callbacks],
    )


def main(batches: int, epochs: int, seeds: int, out: Path) -> None:
    """Read by each rule from each seed, print bits a character, and draw them."""
    curves: dict[str, np.ndarray] = {}
    for name, kind in RULES.items():
        bars = [Progress(total=batches * epochs, desc=f"{name}, seed {seed}") for seed in range(seeds)]
        runs = [learnt(kind, batches, epochs, seed, [bar]) for seed, bar in enumerate(bars)]
        curves[name] = np.array([run.history.column("held_out") for run in runs])
    print(f"\n{'bits a character, held out':<32}" + "".join(f"{f'seed {s}':>10}" for s in range(seeds)))
    for name, found in curves.items():
        print(f"{name:<32}" + "".join(f"{bits:>10.3f}" for bits in found[:, -1]))
    lines(
        out / "characters.png",
        curves,
        x=np.arange(1, epochs + 1) * batches * STEPS * READERS / 1000,
        title="Python's documentation, read once",
        labels=("thousands of characters read", "bits a character, held out"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=25, help="between two looks at the held-out text")
    parser.add_argument("--epochs", type=int, default=8, help="how many looks")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the picture goes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.batches, given.epochs, given.seeds, given.out)
