"""The means of stochastic rules over many keys, against the gradient that they are said to estimate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from oracles import Gradients, bptt, by_path, loss

import etir

KEYS = 10_000
LIMIT = 4.5
"""Standard errors by which a mean may be off: among a hundred numbers once in 1,500 sets of keys. These are fixed."""


class Model(NamedTuple):
    """A step, its parameters, states at rest, inputs and targets."""

    step: Any
    params: Any
    states: Any
    xs: Any
    ts: Any

    @property
    def wanted(self) -> Gradients:
        """The gradient of exact real-time recurrent learning: by BPTT, since the parameters do not change."""
        return bptt(lambda p, s, x: self.step(p, s, x), self.params, self.states, (self.xs,), self.ts).grads


def model(step: Any, params: dict[str, tuple[int, ...]], states: Any, x: tuple[int, ...], steps: int = 6) -> Model:
    """A model with random float64 parameters of these shapes, which keep a signal's size, and random sequences."""
    keys = iter(jax.random.split(jax.random.key(0), len(params) + 2))
    drawn = {
        name: jax.random.normal(next(keys), shape) / (shape[0] if shape else 1) ** 0.5 for name, shape in params.items()
    }
    xs = jax.random.normal(next(keys), (steps, *x))
    y = jax.eval_shape(step, drawn, states, xs[0])[1]
    return Model(step, drawn, states, xs, jax.random.normal(next(keys), (steps, *y.shape)))


def learner_of(of: Model, rule: Any, window: int = 1, backend: str = "xla", **options: Any) -> Any:
    """The learner of a model; weights that a rule leaves alone are the test's business."""
    return etir.compile(of.step, of.params, of.states, of.xs[0], rule=rule, window=window, backend=backend,
                        on_truncated="ignore", **options)  # fmt: skip


def gradients(of: Model, learner: Any, key: Any) -> Any:
    """The gradient over the model's sequence that begins with this key."""
    return learner.grad(loss)(of.params, learner.init(of.params, of.states, key=key), of.xs, of.ts).grads


def estimates(of: Model, learner: Any, keys: int = KEYS) -> Gradients:
    """The gradients of many keys, `[keys, ...]`."""
    run = jax.jit(jax.vmap(lambda key: gradients(of, learner, key)))
    return by_path(run(jax.random.split(jax.random.key(7), keys)))


def scores(found: Gradients, wanted: Gradients) -> dict[str, float]:
    """By how many standard errors the mean of a parameter's worst number is off; rounding is no error."""
    result: dict[str, float] = {}
    for path, values in found.items():
        error, spread = np.abs(values.mean(0) - wanted[path]), values.std(0) / len(values) ** 0.5
        result[path] = float((error / (spread + 1e-12 * np.abs(wanted[path]).max())).max())
    return result


def biased(
    of: Model, rule: Any, window: int = 1, backend: str = "xla", keys: int = KEYS, **options: Any
) -> dict[str, float]:
    """The estimated parameters whose mean is further off than chance allows; some must be estimated."""
    learner = learner_of(of, rule, window, backend, **options)
    found = estimates(of, learner, keys)
    random = {path for path, values in found.items() if values.std(0).max() > 1e-9 * np.abs(of.wanted[path]).max()}
    assert random, "no gradient is random"
    return {path: score for path, score in scores(found, of.wanted).items() if path in random and score > LIMIT}


def words_of(raw: Any, count: int) -> tuple[Any, np.ndarray]:
    """The key after a step, and the signs that a step draws from the key before it: one bit each, low bits first."""
    key = jax.random.wrap_key_data(jnp.asarray(raw), impl="threefry2x32")
    words = np.asarray(jax.random.bits(key, (2 + -(-count // 32),), jnp.uint32))
    bits = (words[2:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return words[:2], 2.0 * bits.reshape(-1)[:count] - 1
