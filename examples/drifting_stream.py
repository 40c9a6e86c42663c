"""Regression on a stream whose law changes, as river makes it: `python examples/drifting_stream.py`.

Friedman's function of five features among ten, with noise; after 2,000 samples its features change their parts, after
4,000 they change back (river's `FriedmanDrift`, global recurring abrupt). A sample arrives over one wire, a feature a
step, and is asked for at the tenth. The five features that count come first, and the weights change every five steps,
so truncated backpropagation with that window never sees what counts. Each prediction is made before its answer is
learnt from.
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
from river import linear_model, preprocessing, tree
from river.datasets import synth

import etir

FEATURES, UNITS, WINDOW, CHUNK = 10, 64, 5, 100
CHANGES = (2000, 4000)
RULES = {"etir: D-RTRL": "d_rtrl", "truncated": "bptt"}


def stream(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features `[samples, 10]` and answers `[samples]`."""
    drawn = synth.FriedmanDrift(drift_type="gra", position=CHANGES, seed=seed).take(samples)
    features, answers = zip(*((list(x.values()), y) for x, y in drawn), strict=True)
    return np.asarray(features, np.float32), np.asarray(answers, np.float32)


def step(params: Any, states: Any, x: jax.Array) -> Any:
    """A gated memory whose gates see the input alone, and a readout with a hidden layer."""
    keep = jax.nn.sigmoid(etir.matmul(x, params["Wk"], params["bk"]))
    h = keep * states["h"] + (1 - keep) * jnp.tanh(etir.matmul(x, params["Wh"], params["bh"]))
    return {"h": h}, jnp.tanh(h @ params["hidden"]) @ params["out"]


def initial(key: jax.Array) -> Any:
    """Random weights; a feature comes with its place, one-hot."""
    k, h, hidden, out = jax.random.split(key, 4)
    return {
        "Wk": jax.random.normal(k, (2 * FEATURES, UNITS)),
        "bk": jnp.full(UNITS, 2.0),
        "Wh": jax.random.normal(h, (2 * FEATURES, UNITS)),
        "bh": jnp.zeros(UNITS),
        "hidden": jax.random.normal(hidden, (UNITS, UNITS)) / UNITS**0.5,
        "out": 0.1 * jax.random.normal(out, (UNITS,)) / UNITS**0.5,
    }


def loss(y: jax.Array, answer: jax.Array, asked: jax.Array) -> jax.Array:
    """The squared error where an answer is asked for, of answers brought to deviation 1."""
    return asked * (y - answer) ** 2


def over_one_wire(features: np.ndarray, answers: np.ndarray) -> Any:
    """Steps of samples: a feature with its place, and at the last step the answer."""
    places = np.eye(FEATURES, dtype=np.float32)
    xs = np.concatenate([(2 * features - 1)[..., None] * places, np.broadcast_to(places, (len(features), 10, 10))], -1)
    asked = np.broadcast_to(places[-1], features.shape)
    return xs.reshape(-1, 2 * FEATURES), np.repeat((answers - 14) / 5, FEATURES), asked.reshape(-1)


def learnt(rule: str, features: np.ndarray, answers: np.ndarray, seed: int) -> np.ndarray:
    """The root of the mean squared error in each hundred samples, predicted before they are learnt from."""
    xs, targets, asked = over_one_wire(features, answers)
    size = CHUNK * FEATURES
    learner = etir.compile(
        step,
        initial(jax.random.key(seed)),
        {"h": jnp.zeros(UNITS)},
        xs[0],
        rule=rule,
        window=WINDOW,
        on_truncated="ignore",
    )

    def chunk(k: int) -> Any:
        return [tuple(a[k * size : (k + 1) * size] for a in (xs, targets, asked))]

    fitted = etir.fit(
        learner, loss, optax.adam(3e-3), chunk, epochs=len(features) // CHUNK, sequence="run", reduction="mean"
    )
    return 5 * np.sqrt(FEATURES * np.asarray(fitted.history.column("loss")))


def peer(model: Any, features: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """The same of one of river's models, which sees all features of a sample at once."""
    squares = []
    for x, y in zip(features.tolist(), answers.tolist(), strict=True):
        sample = dict(enumerate(x))
        squares.append((model.predict_one(sample) - y) ** 2)
        model.learn_one(sample, y)
    return np.sqrt(np.reshape(squares, (-1, CHUNK)).mean(1))


def peers(features: np.ndarray, answers: np.ndarray) -> dict[str, np.ndarray]:
    """A linear model and an adaptive tree."""
    scaled = preprocessing.StandardScaler
    models = {
        "river: linear": scaled() | linear_model.LinearRegression(),
        "river: adaptive tree": scaled() | tree.HoeffdingAdaptiveTreeRegressor(seed=0),
    }
    return {name: peer(model, features, answers) for name, model in models.items()}


def main(samples: int, seeds: int, out: Path) -> None:
    """Learn from the stream, print errors, and draw them."""
    found: dict[str, list[np.ndarray]] = {}
    for seed in range(seeds):
        features, answers = stream(samples, seed)
        runs = {name: learnt(rule, features, answers, seed) for name, rule in RULES.items()}
        for name, errors in (runs | peers(features, answers)).items():
            found.setdefault(name, []).append(errors)
    curves = {name: np.stack(errors) for name, errors in found.items()}
    count = samples // CHUNK
    parts = {f"last fifth of part {k + 1}": slice((5 * k + 4) * count // 15, (k + 1) * count // 3) for k in range(3)}
    print(f"{'root mean squared error':<24}" + "".join(f"{name:>24}" for name in parts))
    for name, values in curves.items():
        print(f"{name:<24}" + "".join(f"{values[:, part].mean():>24.2f}" for part in parts.values()))
    lines(
        out / "drifting_stream.png",
        curves,
        x=CHUNK * (1 + np.arange(count)),
        title="A stream whose law changes at 2,000 and at 4,000",
        labels=("samples", "error of the last hundred"),
        marks=CHANGES,
        levels={"noise": 1.0},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the picture goes")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    main(given.samples, given.seeds, given.out)
